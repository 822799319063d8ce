//! Removes what is old, a little at a time, so that writers never wait long for it.

use rusqlite::{Connection, params};

use crate::protocol::GroupId;
use crate::queue::command::{Prune, Pruned};
use crate::support::clock::Timestamp;

/// Removes what `rule` calls old: first whole groups, then single jobs, then expired keys.
pub fn prune(connection: &Connection, now: Timestamp, rule: &Prune) -> rusqlite::Result<Pruned> {
    let mut done = Pruned::default();
    let mut room = rule.limit;
    if let Some(keep) = rule.keep_groups {
        old_groups(connection, keep, &mut room, &mut done)?;
    }
    old_jobs(connection, rule, &mut room, &mut done)?;
    if rule.keep_groups.is_none() {
        empty_groups(connection, rule, &mut done)?;
    }
    done.keys = connection
        .prepare_cached(
            "DELETE FROM idempotency WHERE key IN \
             (SELECT key FROM idempotency WHERE expires_at <= ?1 ORDER BY expires_at, key LIMIT ?2)",
        )?
        .execute(params![now.as_millis(), rule.limit])? as u64;
    done.more = room == 0 || done.keys >= u64::from(rule.limit);
    Ok(done)
}

/// Counts what [`prune`] would remove in all its steps together. Changes nothing.
pub fn count(connection: &Connection, now: Timestamp, rule: &Prune) -> rusqlite::Result<Pruned> {
    let single = rule.keep_groups.is_none();
    let keep_groups = rule
        .keep_groups
        .map_or(-1, |keep| i64::try_from(keep).unwrap_or(i64::MAX));
    let before = rule.ended_before.as_millis();
    let keep = i64::try_from(rule.keep_ended).unwrap_or(i64::MAX);
    let jobs = connection.query_row(
        "WITH old AS (SELECT id FROM (SELECT seq, id FROM grp ORDER BY seq DESC LIMIT -1 OFFSET max(?4, 0)) AS o \
             WHERE ?4 >= 0 AND NOT EXISTS (SELECT 1 FROM job WHERE grp = o.id AND state < 3)) \
         SELECT count(*) FROM job WHERE grp IN old OR (ended_at < ?1 AND (?2 OR grp IS NULL)) \
         OR seq IN (SELECT seq FROM job WHERE ended_at IS NOT NULL AND NOT (grp IS NOT NULL AND grp IN old) \
             AND NOT (ended_at < ?1 AND (?2 OR grp IS NULL)) \
             ORDER BY ended_at DESC, seq DESC LIMIT -1 OFFSET ?3)",
        params![before, single, keep, keep_groups],
        |row| row.get(0),
    )?;
    let groups: Vec<GroupId> = connection
        .prepare(match single {
            true => {
                "SELECT id FROM grp WHERE created_at < ?1 AND ?2 < 0 AND NOT EXISTS (SELECT 1 FROM job \
                 WHERE job.grp = grp.id AND (ended_at IS NULL OR ended_at >= ?1))"
            }
            false => {
                "SELECT id FROM (SELECT seq, id FROM grp ORDER BY seq DESC LIMIT -1 OFFSET max(?2, 0)) AS o \
                 WHERE ?1 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM job WHERE grp = o.id AND state < 3)"
            }
        })?
        .query_map(params![before, keep_groups], |row| {
            row.get(0).map(GroupId::from_bytes)
        })?
        .collect::<rusqlite::Result<_>>()?;
    let keys = connection.query_row(
        "SELECT count(*) FROM idempotency WHERE expires_at <= ?1",
        [now.as_millis()],
        |row| row.get(0),
    )?;
    Ok(Pruned {
        jobs,
        groups,
        keys,
        more: false,
    })
}

fn old_groups(
    connection: &Connection,
    keep: u64,
    room: &mut u32,
    done: &mut Pruned,
) -> rusqlite::Result<()> {
    let ids: Vec<[u8; 16]> = connection
        .prepare_cached(
            "SELECT id FROM (SELECT seq, id FROM grp ORDER BY seq DESC LIMIT -1 OFFSET ?1) AS old \
             WHERE NOT EXISTS (SELECT 1 FROM job INDEXED BY job_group_queue \
             WHERE grp = old.id AND state < 3) ORDER BY old.seq",
        )?
        .query_map([i64::try_from(keep).unwrap_or(i64::MAX)], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for id in ids {
        if *room == 0 {
            return Ok(());
        }
        let jobs = numbers(
            connection,
            "SELECT seq FROM job WHERE grp = ?1 ORDER BY seq LIMIT ?2",
            params![id, *room],
        )?;
        remove(connection, &jobs, room, done)?;
        if *room > 0 {
            connection
                .prepare_cached("DELETE FROM grp WHERE id = ?1")?
                .execute([id])?;
            done.groups.push(GroupId::from_bytes(id));
        }
    }
    Ok(())
}

fn old_jobs(
    connection: &Connection,
    rule: &Prune,
    room: &mut u32,
    done: &mut Pruned,
) -> rusqlite::Result<()> {
    // Where groups have their own rule, a job of a group stays as long as the group does.
    let by_age = numbers(
        connection,
        "SELECT seq FROM job INDEXED BY job_ended WHERE ended_at IS NOT NULL AND ended_at < ?1 \
         AND (?2 OR grp IS NULL) ORDER BY ended_at, seq LIMIT ?3",
        params![
            rule.ended_before.as_millis(),
            rule.keep_groups.is_none(),
            *room
        ],
    )?;
    remove(connection, &by_age, room, done)?;
    let by_count = numbers(
        connection,
        "SELECT seq FROM job INDEXED BY job_ended WHERE ended_at IS NOT NULL \
         ORDER BY ended_at DESC, seq DESC LIMIT ?2 OFFSET ?1",
        params![i64::try_from(rule.keep_ended).unwrap_or(i64::MAX), *room],
    )?;
    remove(connection, &by_count, room, done)
}

fn empty_groups(connection: &Connection, rule: &Prune, done: &mut Pruned) -> rusqlite::Result<()> {
    let gone: Vec<GroupId> = connection
        .prepare_cached(
            "DELETE FROM grp WHERE id IN (SELECT id FROM grp WHERE created_at < ?1 AND NOT EXISTS \
             (SELECT 1 FROM job WHERE job.grp = grp.id) ORDER BY seq LIMIT ?2) RETURNING id",
        )?
        .query_map(params![rule.ended_before.as_millis(), rule.limit], |row| {
            row.get(0).map(GroupId::from_bytes)
        })?
        .collect::<rusqlite::Result<_>>()?;
    done.groups.extend(gone);
    Ok(())
}

fn numbers(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Vec<i64>> {
    connection
        .prepare_cached(sql)?
        .query_map(params, |row| row.get(0))?
        .collect()
}

fn remove(
    connection: &Connection,
    jobs: &[i64],
    room: &mut u32,
    done: &mut Pruned,
) -> rusqlite::Result<()> {
    for seq in jobs {
        let range = params![seq << 16, seq << 16 | 0xffff];
        connection
            .prepare_cached("DELETE FROM attempt WHERE key BETWEEN ?1 AND ?2")?
            .execute(range)?;
        connection
            .prepare_cached("DELETE FROM stray WHERE key BETWEEN ?1 AND ?2")?
            .execute(range)?;
        for of_job in [
            "DELETE FROM long_payload WHERE job = ?1",
            "DELETE FROM log WHERE job = ?1",
            "DELETE FROM log_end WHERE job = ?1",
        ] {
            connection.prepare_cached(of_job)?.execute([seq])?;
        }
        connection
            .prepare_cached("DELETE FROM job WHERE seq = ?1")?
            .execute([seq])?;
    }
    *room = room.saturating_sub(u32::try_from(jobs.len()).unwrap_or(u32::MAX));
    done.jobs += jobs.len() as u64;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::open::open;
    use super::*;

    /// Six groups of three jobs and six jobs of none; every fourth job waits, the others ended at
    /// their number.
    fn filled(connection: &Connection) {
        for group in 0..6_u8 {
            connection
                .execute(
                    "INSERT INTO grp VALUES (?1, ?2, 'k', 't', ?1, NULL, '{}')",
                    params![group, [group; 16]],
                )
                .unwrap();
        }
        for job in 0..24_u8 {
            let ended = (job % 4 != 3).then_some(job);
            connection
                .execute(
                    "INSERT INTO job (id, state, attempt, lost, failed, max_attempts, retries, \
                     reason, ended_at, pin, need, grp, priority, created_at, updated_at, payload) \
                     VALUES (?1, ?2, 0, 0, 0, 3, 0, ?3, ?4, '', '-', ?5, 0, 0, 0, '{}')",
                    params![
                        [job; 16],
                        if ended.is_some() { 4 } else { 0 },
                        ended.map(|_| 2),
                        ended,
                        (job < 18).then_some([job / 3; 16]),
                    ],
                )
                .unwrap();
        }
    }

    #[test]
    fn what_is_counted_is_what_goes() {
        for (before, keep_ended, keep_groups) in [
            (10, 100, None),
            (0, 4, None),
            (100, 0, None),
            (10, 100, Some(2)),
            (20, 3, Some(4)),
            (0, 100, Some(0)),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let opened = open(&dir.path().join("q.db"), false).unwrap();
            filled(&opened.connection);
            let now = Timestamp::from_millis(50);
            let rule = Prune {
                ended_before: Timestamp::from_millis(before),
                keep_ended,
                keep_groups,
                limit: 2,
            };
            let counted = count(&opened.connection, now, &rule).unwrap();
            let (mut jobs, mut groups) = (0, 0);
            loop {
                let step = prune(&opened.connection, now, &rule).unwrap();
                jobs += step.jobs;
                groups += step.groups.len();
                if !step.more {
                    break;
                }
            }
            assert_eq!(
                (counted.jobs, counted.groups.len()),
                (jobs, groups),
                "{rule:?}"
            );
        }
    }
}
