//! Writes new jobs and their groups.

use std::collections::HashSet;

use rusqlite::params;

use super::needs;
use super::row;
use super::tx::Tx;
use crate::protocol::GroupId;
use crate::queue::command::{IntoGroup, NewGroup, NewJob, Outcome, Refusal, Submit};
use crate::queue::engine::Change;
use crate::support::clock::Timestamp;

/// Writes the jobs of one request, all or none.
pub fn submit(tx: &mut Tx<'_>, now: Timestamp, submit: &Submit) -> rusqlite::Result<Outcome> {
    if let Some(id) = taken(tx, submit)? {
        return Ok(Outcome::Refused(Refusal::IdInUse(id)));
    }
    let group = match &submit.group {
        None => None,
        Some(IntoGroup::New(group)) => {
            insert_group(tx, now, group)?;
            Some(group.id)
        }
        Some(IntoGroup::Existing(id)) => {
            let there = tx
                .connection
                .prepare_cached("SELECT 1 FROM grp WHERE id = ?1")?
                .exists([id.as_bytes()])?;
            if !there {
                return Ok(Outcome::Refused(Refusal::NoSuchGroup(*id)));
            }
            Some(*id)
        }
    };
    for job in &submit.jobs {
        insert_job(tx, now, job, group)?;
    }
    Ok(Outcome::Submitted(
        submit.jobs.iter().map(|job| job.id).collect(),
    ))
}

/// Returns the first id that is there already: callers may make their own.
fn taken(tx: &Tx<'_>, submit: &Submit) -> rusqlite::Result<Option<String>> {
    if let Some(IntoGroup::New(group)) = &submit.group {
        let there = tx
            .connection
            .prepare_cached("SELECT 1 FROM grp WHERE id = ?1")?
            .exists([group.id.as_bytes()])?;
        if there {
            return Ok(Some(group.id.to_string()));
        }
    }
    let mut known = tx
        .connection
        .prepare_cached("SELECT 1 FROM job WHERE id = ?1")?;
    let mut seen = HashSet::with_capacity(submit.jobs.len());
    for job in &submit.jobs {
        if !seen.insert(job.id) || known.exists([job.id.as_bytes()])? {
            return Ok(Some(job.id.to_string()));
        }
    }
    Ok(None)
}

fn insert_group(tx: &Tx<'_>, now: Timestamp, group: &NewGroup) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached(
            "INSERT INTO grp (id, kind, title, created_at, parent, meta) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            group.id.as_bytes(),
            group.kind,
            group.title,
            now.as_millis(),
            group.parent.as_ref().map(GroupId::as_bytes),
            group.meta.as_str(),
        ])?;
    Ok(())
}

/// Writes one job.
pub fn insert_job(
    tx: &mut Tx<'_>,
    now: Timestamp,
    job: &NewJob,
    group: Option<GroupId>,
) -> rusqlite::Result<()> {
    let (pin, need) = needs::write(job.requirement.clone().normalized());
    let delay = job.not_before.filter(|at| *at > now);
    let due = match (delay, job.start_by) {
        (Some(ready), Some(late)) => Some(ready.min(late)),
        (one, other) => one.or(other),
    };
    let state = if delay.is_some() {
        row::DELAYED
    } else {
        row::READY
    };
    tx.connection
        .prepare_cached(
            "INSERT INTO job (id, state, attempt, lost, failed, max_attempts, retries, start_by, \
             not_before, due_at, pin, need, grp, priority, timeout_ms, created_at, updated_at, \
             submitted_by, payload) \
             VALUES (?1, ?2, 0, 0, 0, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?13, ?14, ?15)",
        )?
        .execute(params![
            job.id.as_bytes(),
            state,
            job.max_attempts,
            job.retries,
            job.start_by.map(Timestamp::as_millis),
            delay.map(Timestamp::as_millis),
            due.map(Timestamp::as_millis),
            pin,
            need,
            group.as_ref().map(GroupId::as_bytes),
            job.priority,
            job.timeout_ms.map(|span| i64::try_from(span).unwrap_or(i64::MAX)),
            now.as_millis(),
            job.submitted_by,
            Some(job.payload.as_str()).filter(|payload| payload.len() <= row::SHORT),
        ])?;
    if job.payload.as_str().len() > row::SHORT {
        tx.connection
            .prepare_cached("INSERT INTO long_payload (job, payload) VALUES (?1, ?2)")?
            .execute(params![
                tx.connection.last_insert_rowid(),
                job.payload.as_str()
            ])?;
    }
    tx.alarm(due);
    if delay.is_none() {
        tx.needs.add(group, &pin, &need);
        tx.changes.push(Change::Ready {
            job: job.id,
            group,
            avoids: false,
        });
    }
    Ok(())
}
