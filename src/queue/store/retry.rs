//! Asks for ended jobs again. What has ended never changes, so a retry is a new job beside the old one.

use rusqlite::{OptionalExtension, params};

use super::needs;
use super::row::{self, Stored, columns, payload};
use super::submit::insert_job;
use super::tx::Tx;
use crate::protocol::{JobId, Payload};
use crate::queue::command::{NewJob, Retried};
use crate::queue::domain::State;
use crate::support::clock::Timestamp;

/// Makes a new job for each ended one: same payload, demands, limits and group.
pub fn retry(
    tx: &mut Tx<'_>,
    now: Timestamp,
    jobs: &[(JobId, JobId)],
) -> rusqlite::Result<Retried> {
    let mut done = Retried::default();
    for (old, new) in jobs {
        let found = tx
            .connection
            .prepare_cached(concat!(
                "SELECT ",
                columns!(),
                ", priority, timeout_ms, submitted_by, ",
                payload!(),
                " FROM job WHERE id = ?1"
            ))?
            .query_row([old.as_bytes()], |row| {
                Ok((
                    row::read(row)?,
                    row.get(26)?,
                    row.get(27)?,
                    row.get(28)?,
                    row.get(29)?,
                ))
            })
            .optional()?;
        let Some((stored, priority, timeout_ms, submitted_by, text)) = found else {
            done.unknown.push(*old);
            continue;
        };
        let stored: Stored = stored;
        match stored.job.state {
            State::Ended(_) => {}
            State::Queued { .. } | State::Leased(_) => {
                done.not_ended.push(*old);
                continue;
            }
        }
        let job = NewJob {
            id: *new,
            payload: Payload::stored(text),
            requirement: needs::read(&stored.pin, &stored.need),
            submitted_by,
            priority,
            max_attempts: stored.job.limits.max_attempts,
            retries: stored.job.limits.retries,
            timeout_ms,
            // A start that was missed once would be missed again.
            start_by: None,
            not_before: None,
        };
        insert_job(tx, now, &job, stored.group)?;
        tx.connection
            .prepare_cached("UPDATE job SET retry_of = ?2 WHERE id = ?1")?
            .execute(params![new.as_bytes(), old.as_bytes()])?;
        done.retried.push((*old, *new));
    }
    Ok(done)
}
