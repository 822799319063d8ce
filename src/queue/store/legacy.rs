//! Takes over a database of the original: tables `hosts`, `jobs`, `services`, `idempotency`, one JSON
//! record per row.
//!
//! A whole copy of what it was is put beside it first. The rest is one transaction: it is the
//! original's file or ours, never something between. Idempotency keys are not taken over, because
//! their hashes are of another kind: a request repeated across the change is a new one.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use serde::Deserialize;

use super::backup::put;
use super::{attempts, fault, needs, row, services};
use crate::protocol::api::ServiceRecord;
use crate::protocol::{AttemptEnd, AttemptNo, HostId, LeaseToken, Reason};
use crate::queue::Error;
use crate::queue::command::{OriginalHost, OriginalJob, OriginalStatus, TakenOver};
use crate::queue::domain::Lease;

/// How many lost leases a job may still have after it was taken over, as a new job has.
const FURTHER_ATTEMPTS: u16 = 3;
/// Tries beyond this are not counted any more: numbers for later ones must be left.
const MOST_ATTEMPTS: u16 = 10_000;
/// Who made a try that the original did not remember.
const UNKNOWN_HOST: &str = "unknown";

/// Tells whether the file is one of the original.
pub fn is_one(connection: &Connection) -> rusqlite::Result<bool> {
    let mut columns = connection
        .prepare("SELECT count(*) FROM pragma_table_info(?1) WHERE name IN ('id', 'json')")?;
    let mut has_both = |table: &str| -> rusqlite::Result<bool> {
        Ok(columns.query_row([table], |row| row.get::<_, i64>(0))? == 2)
    };
    Ok(has_both("jobs")? && has_both("hosts")?)
}

/// Puts a whole copy of the file beside it and returns where.
///
/// # Errors
/// When it cannot be written.
pub fn keep_copy(connection: &Connection, path: &Path) -> Result<PathBuf, Error> {
    let copy = (1..)
        .map(|number| name_of_copy(path, number))
        .find(|copy| !copy.exists())
        .unwrap_or_else(|| name_of_copy(path, 0));
    put(&copy, |temporary| {
        connection
            .execute("VACUUM INTO ?1", [temporary.to_string_lossy()])
            .map(|_| ())
            .map_err(|error| fault::error("copy", path, error))
    })?;
    Ok(copy)
}

fn name_of_copy(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".original-backup");
    if number > 1 {
        name.push(format!("-{number}"));
    }
    name.into()
}

/// Moves the original's tables out of the way of ours.
pub fn set_aside(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("DROP TABLE IF EXISTS idempotency")
}

/// Writes the original's records into our tables, and removes its own.
pub fn take_over(connection: &Connection) -> rusqlite::Result<TakenOver> {
    // Nobody can show these: nobody was ever told them.
    let mut fresh = |_| LeaseToken::fresh();
    let mut taken = TakenOver::default();
    each(connection, "jobs", "created_at, rowid", |text| {
        let done = match serde_json::from_str::<OriginalJob>(text) {
            Ok(job) => insert_job(connection, &job, &mut fresh)?.is_some(),
            Err(error) => unreadable("job", &error),
        };
        *(if done {
            &mut taken.jobs
        } else {
            &mut taken.skipped
        }) += 1;
        Ok(())
    })?;
    each(connection, "hosts", "id", |text| {
        let done = match serde_json::from_str::<OriginalHost>(text) {
            Ok(host) => insert_host(connection, &host)?,
            Err(error) => unreadable("host", &error),
        };
        *(if done {
            &mut taken.hosts
        } else {
            &mut taken.skipped
        }) += 1;
        Ok(())
    })?;
    if has_table(connection, "services")? {
        each(connection, "services", "created_at, rowid", |text| {
            let done = match serde_json::from_str::<ServiceRecord>(text) {
                Ok(service) => services::save(connection, &service).map(|()| true)?,
                Err(error) => unreadable("service", &error),
            };
            *(if done {
                &mut taken.services
            } else {
                &mut taken.skipped
            }) += 1;
            Ok(())
        })?;
    }
    connection.execute_batch("DROP TABLE jobs; DROP TABLE hosts; DROP TABLE IF EXISTS services")?;
    Ok(taken)
}

fn unreadable(what: &str, error: &dyn std::fmt::Display) -> bool {
    tracing::warn!(what, %error, "a record of the original cannot be read and is left out");
    false
}

fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    connection
        .prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1")?
        .exists([name])
}

/// Hands each record of a table to `take`. The names are literals of this file.
fn each(
    connection: &Connection,
    table: &str,
    order: &str,
    mut take: impl FnMut(&str) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare(&format!("SELECT json FROM {table} ORDER BY {order}"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // The original wrote text; whatever else somebody put there is no record.
        take(row.get_ref(0)?.as_str().unwrap_or_default())?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct WithLimit {
    #[serde(rename = "timeoutMs", default)]
    timeout_ms: Option<f64>,
}

/// Returns how the last try of a job ended, if the job has ended; a try that was running is lost.
fn last_ending(job: &OriginalJob) -> (AttemptEnd, Option<Reason>) {
    match job.status {
        OriginalStatus::Completed => (AttemptEnd::Succeeded, None),
        OriginalStatus::Failed => (AttemptEnd::Failed, Some(job.reason())),
        OriginalStatus::Queued | OriginalStatus::Leased => (AttemptEnd::Lost, Some(Reason::Lost)),
    }
}

/// Writes a job. Returns its pin and its need, or nothing if its id is there already.
pub(super) fn insert_job(
    connection: &Connection,
    job: &OriginalJob,
    token: &mut dyn FnMut(u16) -> LeaseToken,
) -> rusqlite::Result<Option<(String, String)>> {
    let taken = connection
        .prepare_cached("SELECT 1 FROM job WHERE id = ?1")?
        .exists([job.id.as_bytes()])?;
    if taken {
        unreadable("job", &"its id is there already");
        return Ok(None);
    }
    let ended = job.has_ended();
    let counted = u16::try_from(job.attempts).unwrap_or(u16::MAX);
    let attempt = counted
        .min(MOST_ATTEMPTS)
        .max(u16::from(ended || job.status == OriginalStatus::Leased));
    let (end, reason) = last_ending(job);
    // Every try but the last one of an ended job was a lease that ran out.
    let lost = attempt - u16::from(ended);
    let (pin, need) = needs::write(job.requirement.clone().normalized());
    let limit = serde_json::from_str::<WithLimit>(job.payload.as_str())
        .ok()
        .and_then(|limit| limit.timeout_ms)
        .filter(|limit| *limit >= 1.0);
    let short = Some(job.payload.as_str()).filter(|payload| payload.len() <= row::SHORT);
    let state = match job.status {
        OriginalStatus::Queued | OriginalStatus::Leased => row::READY,
        OriginalStatus::Completed => row::COMPLETED,
        OriginalStatus::Failed => row::FAILED,
    };
    connection
        .prepare_cached(
            "INSERT INTO job (id, state, attempt, lost, failed, max_attempts, retries, reason, \
             ended_at, pin, need, priority, timeout_ms, created_at, updated_at, submitted_by, payload) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9, ?10, 0, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            job.id.as_bytes(),
            state,
            attempt,
            lost,
            u16::from(ended && reason == Some(Reason::Exit)),
            lost.saturating_add(FURTHER_ATTEMPTS),
            reason.filter(|_| ended).map(row::reason_number),
            ended.then(|| job.updated_at.as_millis()),
            pin,
            need,
            // Below 2^53, and a longer limit is none.
            limit.map(|limit| limit.min(9e15) as i64),
            job.created_at.as_millis(),
            job.updated_at.as_millis(),
            job.submitted_by,
            short,
        ])?;
    let seq = connection.last_insert_rowid();
    if short.is_none() {
        connection
            .prepare_cached("INSERT INTO long_payload (job, payload) VALUES (?1, ?2)")?
            .execute(params![seq, job.payload.as_str()])?;
    }
    insert_attempts(connection, job, (seq, attempt), (end, reason), token)?;
    Ok(Some((pin, need)))
}

fn insert_attempts(
    connection: &Connection,
    job: &OriginalJob,
    (seq, last): (i64, u16),
    ending: (AttemptEnd, Option<Reason>),
    token: &mut dyn FnMut(u16) -> LeaseToken,
) -> rusqlite::Result<()> {
    let result = job.final_result();
    let unknown = HostId::new(UNKNOWN_HOST).ok();
    for number in 1..=last {
        let is_last = number == last;
        let result = result.as_ref().filter(|_| is_last);
        let ran_for =
            std::time::Duration::from_millis(result.map_or(0, |result| result.duration_ms));
        let Some(host) = job.host().filter(|_| is_last).or_else(|| unknown.clone()) else {
            continue;
        };
        let lease = Lease {
            host,
            token: token(number),
            since: job.updated_at.minus(ran_for),
            lease_for: std::time::Duration::ZERO,
            expires_at: job.updated_at,
            cancel: None,
        };
        let key = row::attempt_key(seq, AttemptNo::new(number));
        let ending = match is_last {
            true => ending,
            false => (AttemptEnd::Lost, Some(Reason::Lost)),
        };
        attempts::insert(connection, key, &lease, ending, job.updated_at, result)?;
    }
    Ok(())
}

/// Writes a host. Tells whether it could be.
pub(super) fn insert_host(connection: &Connection, host: &OriginalHost) -> rusqlite::Result<bool> {
    let id = match HostId::new(host.id.clone()) {
        Ok(id) => id,
        Err(error) => return Ok(unreadable("host", &error)),
    };
    let capabilities = serde_json::to_string(&host.capabilities)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO host (id, name, capabilities, labels, max_parallel, mode, \
             registered_at, updated_at) VALUES (?1, ?2, ?3, '{}', ?4, 0, ?5, ?6)",
        )?
        .execute(params![
            id.as_str(),
            host.name,
            capabilities,
            host.max_parallel,
            host.registered_at.as_millis(),
            host.last_seen_at.unwrap_or(host.registered_at).as_millis(),
        ])?;
    Ok(true)
}

/// Says what was done, where an operator looks.
pub fn announce(path: &Path, copy: &Path, taken: TakenOver) {
    tracing::warn!(
        file = %path.display(),
        copy = %copy.display(),
        jobs = taken.jobs,
        hosts = taken.hosts,
        services = taken.services,
        skipped = taken.skipped,
        "the database of the original was taken over; a copy of what it was is kept"
    );
}

#[cfg(test)]
#[path = "legacy_tests.rs"]
mod tests;
