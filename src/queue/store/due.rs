//! What happens because time passed.

use std::time::Duration;

use rusqlite::params;

use super::row::{self, columns};
use super::tx::Tx;
use crate::protocol::JobId;
use crate::queue::command::Expired;
use crate::queue::domain::{Event, State};
use crate::support::clock::Timestamp;

/// Lets everything happen that is due by `now`, up to `limit` jobs.
pub fn expire(tx: &mut Tx<'_>, now: Timestamp, limit: u32) -> rusqlite::Result<Expired> {
    let mut done = Expired {
        next_due: tx.next_due()?,
        ..Expired::default()
    };
    if done.next_due.is_none_or(|due| due > now) {
        return Ok(done);
    }
    let due = tx
        .connection
        .prepare_cached(concat!(
            "SELECT ",
            columns!(),
            " FROM job WHERE due_at IS NOT NULL AND due_at <= ?1 ORDER BY due_at, seq LIMIT ?2"
        ))?
        .query_map(params![now.as_millis(), limit], row::read)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for stored in due {
        let was_leased = matches!(stored.job.state, State::Leased(_));
        if let Ok(job) = tx.step(&stored, Event::Due, now, None)? {
            match job.state {
                State::Ended(_) => done.ended += 1,
                State::Queued { .. } if was_leased => done.requeued += 1,
                State::Queued { .. } | State::Leased(_) => done.ready += 1,
            }
        }
    }
    tx.forget_alarms();
    done.next_due = tx.next_due()?;
    Ok(done)
}

/// Lets the host that a waiting job avoids have it again.
pub fn readmit(tx: &mut Tx<'_>, now: Timestamp, job: JobId) -> rusqlite::Result<bool> {
    let Some(stored) = tx.find(job)? else {
        return Ok(false);
    };
    Ok(tx.step(&stored, Event::Readmit, now, None)?.is_ok())
}

/// After a restart no host is avoided for longer than this.
const AVOIDED_FOR: Duration = Duration::from_secs(60);

/// Gives each lease one fresh lease time. A clock that was set back while nobody served leaves leases
/// that reach far beyond that; they are cut to it.
pub fn reprieve(tx: &mut Tx<'_>, now: Timestamp) -> rusqlite::Result<u64> {
    let changed = tx
        .connection
        .prepare_cached(
            "UPDATE job SET due_at = ?1 + lease_ms WHERE due_at IS NOT NULL AND state = 2 \
             AND cancel_at IS NULL AND due_at <> ?1 + lease_ms",
        )?
        .execute([now.as_millis()])?;
    // Who was told to end gets no more time than there was, and never more than a fresh cancel would give.
    tx.connection
        .prepare_cached(
            "UPDATE job SET due_at = ?1 + lease_ms + min(coalesce(cancel_grace, 0), ?2) \
             WHERE due_at IS NOT NULL AND state = 2 AND cancel_at IS NOT NULL \
             AND due_at > ?1 + lease_ms + min(coalesce(cancel_grace, 0), ?2)",
        )?
        .execute([now.as_millis(), Timestamp::LAST.as_millis()])?;
    // Whom a job is to avoid is a wish for a moment, not for as long as a clock was set back.
    tx.connection
        .prepare_cached(
            "UPDATE job SET avoid_until = ?1, due_at = min(?1, coalesce(start_by, ?1)) \
             WHERE state = 0 AND avoid_until > ?1",
        )?
        .execute([now.plus(AVOIDED_FOR).as_millis()])?;
    tx.forget_alarms();
    Ok(changed as u64)
}
