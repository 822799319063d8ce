//! The history of tries, and the reports of holders that came too late to count.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::row::{self, columns};
use super::view::running;
use crate::protocol::{
    AttemptEnd, AttemptNo, HostId, JobId, JobResult, LeaseToken, Output, Reason,
};
use crate::queue::command::Report;
use crate::queue::domain::Lease;
use crate::support::clock::Timestamp;

/// The columns that [`read_result`] reads, in its order.
macro_rules! result_columns {
    () => {
        "finished_at, duration_ms, exit_code, signal, detail, error, stdout_total, stdout_cut, \
         stderr_total, stderr_cut, stdout, stderr"
    };
}
pub(super) use result_columns;

/// Writes a try that is over.
pub fn insert(
    connection: &Connection,
    key: i64,
    lease: &Lease,
    (end, reason): (AttemptEnd, Option<Reason>),
    now: Timestamp,
    result: Option<&JobResult>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(concat!(
            "INSERT INTO attempt (key, host, token, started_at, ended_at, ending, reason, ",
            result_columns!(),
            ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)"
        ))?
        .execute(params![
            key,
            lease.host.as_str(),
            lease.token.as_bytes(),
            lease.since.as_millis(),
            now.as_millis(),
            end as i64,
            reason.map(row::reason_number),
            result.map(|result| result.finished_at.as_millis()),
            result.map(|result| i64::try_from(result.duration_ms).unwrap_or(i64::MAX)),
            result.and_then(|result| result.exit_code),
            result.and_then(|result| result.signal),
            result.and_then(|result| result.detail.as_deref()),
            result.and_then(|result| result.error.as_deref()),
            result.map(|result| i64::try_from(result.stdout.total).unwrap_or(i64::MAX)),
            result.map(|result| result.stdout.truncated),
            result.map(|result| i64::try_from(result.stderr.total).unwrap_or(i64::MAX)),
            result.map(|result| result.stderr.truncated),
            result.map(|result| result.stdout.bytes.as_slice()),
            result.map(|result| result.stderr.bytes.as_slice()),
        ])?;
    Ok(())
}

/// Reads a result from twelve columns starting at `at`; nothing if the holder never reported.
pub fn read_result(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<JobResult>> {
    let Some(finished_at) = row::time(row, at)? else {
        return Ok(None);
    };
    Ok(Some(JobResult {
        finished_at,
        duration_ms: row.get(at + 1)?,
        exit_code: row.get(at + 2)?,
        signal: row.get(at + 3)?,
        detail: row.get(at + 4)?,
        error: row.get(at + 5)?,
        stdout: Output {
            total: row.get(at + 6)?,
            truncated: row.get(at + 7)?,
            bytes: row.get(at + 10)?,
        },
        stderr: Output {
            total: row.get(at + 8)?,
            truncated: row.get(at + 9)?,
            bytes: row.get(at + 11)?,
        },
    }))
}

/// Tells whether this very attempt was reported before with this token, so that a report whose
/// answer got lost can be answered again.
pub fn was_reported(
    connection: &Connection,
    key: i64,
    token: LeaseToken,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT 1 FROM attempt WHERE key = ?1 AND token = ?2 AND finished_at IS NOT NULL",
        )?
        .query_row(params![key, token.as_bytes()], |_| Ok(()))
        .optional()
        .map(|found| found.is_some())
}

/// Returns the lease of an attempt that was lost and of which nobody reported.
pub fn lost_lease(connection: &Connection, key: i64) -> rusqlite::Result<Option<Lease>> {
    connection
        .prepare_cached(
            "SELECT host, token, started_at, ended_at FROM attempt \
             WHERE key = ?1 AND ending = ?2 AND finished_at IS NULL",
        )?
        .query_row(params![key, AttemptEnd::Lost as i64], |found| {
            let Some(host) = row::host(found, 0)? else {
                return Ok(None);
            };
            Ok(Some(Lease {
                host,
                token: LeaseToken::from_bytes(found.get(1)?),
                since: row::time(found, 2)?.unwrap_or_default(),
                lease_for: Duration::ZERO,
                expires_at: row::time(found, 3)?.unwrap_or_default(),
                cancel: None,
            }))
        })
        .optional()
        .map(Option::flatten)
}

/// Who made which try, by job.
pub type Holders = HashMap<JobId, Vec<(AttemptNo, HostId)>>;

/// Returns who made which try of `job`, a running one last; nothing if there is no such job.
pub fn holders(
    connection: &Connection,
    job: JobId,
) -> rusqlite::Result<Option<Vec<(AttemptNo, HostId)>>> {
    let found = connection
        .prepare_cached(concat!("SELECT ", columns!(), " FROM job WHERE id = ?1"))?
        .query_row([job.as_bytes()], row::read)
        .optional()?;
    let Some(stored) = found else {
        return Ok(None);
    };
    let first = row::attempt_key(stored.seq, AttemptNo::NONE);
    let last = row::attempt_key(stored.seq, AttemptNo::new(u16::MAX));
    let mut tries: Vec<(AttemptNo, HostId)> = connection
        .prepare_cached(
            "SELECT key & 65535, host FROM attempt WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
        )?
        .query_map([first, last], |found| {
            Ok((AttemptNo::new(found.get(0)?), row::host(found, 1)?))
        })?
        .filter_map(|read| match read {
            Ok((number, host)) => host.map(|host| Ok((number, host))),
            Err(error) => Some(Err(error)),
        })
        .collect::<rusqlite::Result<_>>()?;
    tries.extend(running(&stored).map(|now| (now.attempt, now.host)));
    Ok(Some(tries))
}

/// Takes an attempt out of the history, to be written anew.
pub fn take_out(connection: &Connection, key: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM attempt WHERE key = ?1")?
        .execute([key])?;
    Ok(())
}

/// Puts a report aside that came from a holder without the lease. The first per attempt stays.
pub fn put_aside(
    connection: &Connection,
    key: i64,
    now: Timestamp,
    report: &Report,
) -> rusqlite::Result<()> {
    let text = serde_json::to_string(report)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO stray (key, received_at, report) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![key, now.as_millis(), text])?;
    Ok(())
}
