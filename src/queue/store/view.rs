//! Rows as the records that others see.

use rusqlite::Row;

use super::attempts::read_result;
use super::needs;
use super::row::{self, Stored};
use crate::protocol::{
    AttemptNo, AttemptRecord, CancelRecord, GroupCounts, GroupId, GroupRecord, JobId, JobRecord,
    JobStatus, Payload,
};
use crate::queue::domain::{Lease, State};

pub const fn add(counts: &mut GroupCounts, state: i64, number: u64) {
    match state {
        row::READY | row::DELAYED => counts.queued += number,
        row::LEASED => counts.leased += number,
        row::COMPLETED => counts.completed += number,
        _ => counts.failed += number,
    }
}

pub const fn status_range(status: Option<JobStatus>) -> (i64, i64) {
    match status {
        None => (row::READY, row::FAILED),
        Some(JobStatus::Queued) => (row::READY, row::DELAYED),
        Some(JobStatus::Leased) => (row::LEASED, row::LEASED),
        Some(JobStatus::Completed) => (row::COMPLETED, row::COMPLETED),
        Some(JobStatus::Failed) => (row::FAILED, row::FAILED),
    }
}

pub fn read_group(row: &Row<'_>) -> rusqlite::Result<GroupRecord> {
    Ok(GroupRecord {
        id: GroupId::from_bytes(row.get(0)?),
        kind: row.get(1)?,
        title: row.get(2)?,
        created_at: row::time(row, 3)?.unwrap_or_default(),
        parent: row.get::<_, Option<[u8; 16]>>(4)?.map(GroupId::from_bytes),
        meta: Payload::stored(row.get(5)?),
        counts: GroupCounts::default(),
    })
}

pub fn read_attempt(row: &Row<'_>) -> rusqlite::Result<AttemptRecord> {
    Ok(AttemptRecord {
        attempt: AttemptNo::new(row.get(0)?),
        host: row::host(row, 1)?.ok_or(rusqlite::Error::InvalidQuery)?,
        started_at: row::time(row, 2)?.unwrap_or_default(),
        ended_at: row::time(row, 3)?,
        end: Some(row::ending(row, 4)?),
        reason: row::reason(row, 5)?,
        result: read_result(row, 6)?,
    })
}

/// A job whose last try is known only if it runs.
pub struct Found {
    /// The job.
    pub job: JobRecord,
    /// The try that goes on.
    pub running: Option<AttemptRecord>,
}

pub fn running(stored: &Stored) -> Option<AttemptRecord> {
    let lease = lease_of(stored)?;
    Some(AttemptRecord {
        attempt: stored.job.attempt,
        host: lease.host.clone(),
        started_at: lease.since,
        ended_at: None,
        end: None,
        reason: None,
        result: None,
    })
}

const fn lease_of(stored: &Stored) -> Option<&Lease> {
    match &stored.job.state {
        State::Leased(lease) => Some(lease),
        State::Queued { .. } | State::Ended(_) => None,
    }
}

pub fn read_view(row: &Row<'_>) -> rusqlite::Result<(i64, Found)> {
    let stored = row::read(row)?;
    let (not_before, ended_at) = match &stored.job.state {
        State::Queued { not_before } => (*not_before, None),
        State::Leased(_) => (None, None),
        State::Ended(ending) => (None, Some(ending.at)),
    };
    let result = read_result(row, 31)?;
    let cancel = row::time(row, 15)?
        .map(|asked_at| row.get(16).map(|reason| CancelRecord { asked_at, reason }))
        .transpose()?;
    let lease = lease_of(&stored);
    let job = JobRecord {
        id: stored.id,
        status: stored.job.status(),
        reason: row::reason(row, 19)?,
        created_at: row::time(row, 28)?.unwrap_or_default(),
        updated_at: stored.updated_at,
        ended_at,
        attempts: stored.job.attempt,
        requirement: needs::read(&stored.pin, &stored.need),
        payload: Payload::stored(row.get(30)?),
        priority: row.get(26)?,
        group: stored.group,
        submitted_by: row.get(29)?,
        timeout_ms: row.get(27)?,
        retry_of: row.get::<_, Option<[u8; 16]>>(43)?.map(JobId::from_bytes),
        start_by: stored.job.start_by,
        not_before,
        assigned_host_id: lease.map(|lease| lease.host.clone()),
        lease_expires_at: lease.map(|lease| lease.expires_at),
        last_host_id: None,
        started_at: None,
        cancel,
        usage: None,
        error: result.as_ref().and_then(|result| result.error.clone()),
        result,
    };
    let running = running(&stored);
    Ok((stored.seq, Found { job, running }))
}
