//! A job between its row and its domain value.

use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{CachedStatement, Row, params};

use crate::protocol::{AttemptEnd, AttemptNo, GroupId, HostId, JobId, LeaseToken, Reason};
use crate::queue::domain::{Avoid, CancelAsk, Ending, Job, Lease, Limits, State};
use crate::support::clock::Timestamp;

/// What [`read`] needs, in its order. A macro, because only literals can be joined without allocating.
macro_rules! columns {
    () => {
        "seq, id, state, attempt, lost, failed, max_attempts, retries, start_by, not_before, \
         due_at, host, token, since, lease_ms, cancel_at, cancel_reason, avoid_host, avoid_until, \
         reason, ended_at, pin, need, grp, updated_at, cancel_grace"
    };
}
pub(super) use columns;

/// How long a payload may be to lie in the row of its job, in bytes: some rows still share a page.
pub const SHORT: usize = 1024;

/// The payload of a job, wherever it lies.
macro_rules! payload {
    () => {
        "coalesce(job.payload, (SELECT l.payload FROM long_payload AS l WHERE l.job = job.seq))"
    };
}
pub(super) use payload;

/// The statement behind [`save`]. What was once said about a cancel or a failure stays.
pub const SAVE: &str = "UPDATE job SET state = ?1, attempt = ?2, lost = ?3, failed = ?4, \
     not_before = ?5, due_at = ?6, host = ?7, token = ?8, since = ?9, lease_ms = ?10, \
     cancel_at = coalesce(?11, cancel_at), cancel_reason = coalesce(?12, cancel_reason), \
     avoid_host = ?13, avoid_until = ?14, reason = coalesce(?15, reason), ended_at = ?16, \
     updated_at = ?17, cancel_grace = coalesce(?18, cancel_grace) \
     WHERE seq = ?19 AND state = ?20 AND attempt = ?21";

/// States as the store knows them: "queued" is two, so that the queue index holds only what can be claimed.
pub const READY: i64 = 0;
/// Queued, but not to be given out yet.
pub const DELAYED: i64 = 1;
/// Held by a host.
pub const LEASED: i64 = 2;
/// Ended well.
pub const COMPLETED: i64 = 3;
/// Ended badly.
pub const FAILED: i64 = 4;

/// A job with its place in the table.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its number, which is also its place in the queue.
    pub seq: i64,
    /// Its id.
    pub id: JobId,
    /// The host it is pinned to, or empty.
    pub pin: String,
    /// What else it demands, in one canonical text.
    pub need: String,
    /// Its group.
    pub group: Option<GroupId>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Its life.
    pub job: Job,
}

fn broken(column: usize, what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, what.into())
}

/// Reads a point in time.
pub fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row
        .get::<_, Option<i64>>(column)?
        .map(Timestamp::from_millis))
}

/// Reads a host's id.
pub fn host(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<HostId>> {
    row.get::<_, Option<String>>(column)?
        .map(HostId::new)
        .transpose()
        .map_err(|error| broken(column, &error.to_string()))
}

/// Reads a reason.
pub fn reason(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Reason>> {
    row.get::<_, Option<usize>>(column)?
        .map(|number| {
            Reason::ALL
                .get(number)
                .copied()
                .ok_or_else(|| broken(column, "unknown reason"))
        })
        .transpose()
}

/// Reads how an attempt ended.
pub fn ending(row: &Row<'_>, column: usize) -> rusqlite::Result<AttemptEnd> {
    AttemptEnd::ALL
        .get(row.get::<_, usize>(column)?)
        .copied()
        .ok_or_else(|| broken(column, "unknown ending"))
}

/// Returns the number that stands for `reason`.
pub fn reason_number(reason: Reason) -> i64 {
    reason as i64
}

/// Reads a job from a row of [`COLUMNS`].
pub fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let pin: String = row.get(21)?;
    let avoid = match (host(row, 17)?, time(row, 18)?) {
        (Some(host), Some(until)) => Some(Avoid { host, until }),
        (_, _) => None,
    };
    Ok(Stored {
        seq: row.get(0)?,
        id: JobId::from_bytes(row.get(1)?),
        need: row.get(22)?,
        group: row.get::<_, Option<[u8; 16]>>(23)?.map(GroupId::from_bytes),
        updated_at: time(row, 24)?.unwrap_or_default(),
        job: Job {
            limits: Limits {
                max_attempts: row.get(6)?,
                retries: row.get(7)?,
            },
            start_by: time(row, 8)?,
            pinned: !pin.is_empty(),
            attempt: AttemptNo::new(row.get(3)?),
            lost: row.get(4)?,
            failed: row.get(5)?,
            avoid,
            state: read_state(row)?,
        },
        pin,
    })
}

fn read_state(row: &Row<'_>) -> rusqlite::Result<State> {
    match row.get::<_, i64>(2)? {
        READY | DELAYED => Ok(State::Queued {
            not_before: time(row, 9)?,
        }),
        LEASED => Ok(State::Leased(Lease {
            host: host(row, 11)?.ok_or_else(|| broken(11, "lease without host"))?,
            token: LeaseToken::from_bytes(row.get(12)?),
            since: time(row, 13)?.unwrap_or_default(),
            lease_for: Duration::from_millis(row.get(14)?),
            expires_at: time(row, 10)?.unwrap_or_default(),
            cancel: match time(row, 15)? {
                Some(asked_at) => Some(CancelAsk {
                    asked_at,
                    reason: row.get(16)?,
                    grace: row.get::<_, Option<u64>>(25)?.map(Duration::from_millis),
                }),
                None => None,
            },
        })),
        COMPLETED | FAILED => Ok(State::Ended(Ending {
            failure: match row.get::<_, i64>(2)? {
                COMPLETED => None,
                _ => Some(reason(row, 19)?.unwrap_or(Reason::Dead)),
            },
            at: time(row, 20)?.unwrap_or_default(),
        })),
        _ => Err(broken(2, "unknown state")),
    }
}

/// Returns the number that stands for the state of `job`.
pub const fn state_number(job: &Job) -> i64 {
    match &job.state {
        State::Queued { not_before: None } => READY,
        State::Queued {
            not_before: Some(_),
        } => DELAYED,
        State::Leased(_) => LEASED,
        State::Ended(ending) => match ending.failure {
            None => COMPLETED,
            Some(_) => FAILED,
        },
    }
}

/// Writes `after` over `before` in row `seq`. Returns whether the row still stood as `before` says.
pub fn save(
    statement: &mut CachedStatement<'_>,
    seq: i64,
    before: &Job,
    after: &Job,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let (lease, not_before, ending) = match &after.state {
        State::Queued { not_before } => (None, *not_before, None),
        State::Leased(lease) => (Some(lease), None, None),
        State::Ended(ending) => (None, None, Some(ending)),
    };
    let cancel = lease.and_then(|lease| lease.cancel.as_ref());
    let changed = statement.execute(params![
        state_number(after),
        after.attempt.get(),
        after.lost,
        after.failed,
        not_before.map(Timestamp::as_millis),
        after.due_at().map(Timestamp::as_millis),
        lease.map(|lease| lease.host.as_str()),
        lease.map(|lease| lease.token.as_bytes()),
        lease.map(|lease| lease.since.as_millis()),
        lease.map(|lease| millis(lease.lease_for)),
        cancel.map(|ask| ask.asked_at.as_millis()),
        cancel.and_then(|ask| ask.reason.as_deref()),
        after.avoid.as_ref().map(|avoid| avoid.host.as_str()),
        after.avoid.as_ref().map(|avoid| avoid.until.as_millis()),
        ending.and_then(|ending| ending.failure).map(reason_number),
        ending.map(|ending| ending.at.as_millis()),
        now.as_millis(),
        cancel.and_then(|ask| ask.grace).map(millis),
        seq,
        state_number(before),
        before.attempt.get(),
    ])?;
    Ok(changed == 1)
}

/// Returns a span as the store keeps it.
pub fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the key of an attempt: job and number in one integer.
pub fn attempt_key(seq: i64, attempt: AttemptNo) -> i64 {
    seq << 16 | i64::from(attempt.get())
}
