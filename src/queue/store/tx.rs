//! One write transaction in the making, and what has been learned inside it.
//!
//! What it remembers is read from the file after the write lock was taken and thrown away with
//! the transaction. It saves looking up the same thing for each command of a batch, and never
//! changes an outcome.

use rusqlite::{Connection, OptionalExtension, params};

use super::needs::Needs;
use super::row::{self, Stored, columns};
use super::{attempts, hosts};
use crate::protocol::{JobId, JobResult};
use crate::queue::domain::{self, Effect, Event, Job, Lease, Rejected, State};
use crate::queue::engine::Change;
use crate::support::clock::Timestamp;

/// A write transaction.
pub struct Tx<'c> {
    /// Where it is written.
    pub connection: &'c Connection,
    /// What to tell once it is committed.
    pub changes: Vec<Change>,
    /// The distinct needs among jobs that wait.
    pub needs: Needs,
    /// Not later than the earliest alarm; nothing while nobody looked.
    next_due: Option<Option<Timestamp>>,
    /// Whether nothing is given out; nothing while nobody looked.
    paused: Option<bool>,
}

impl<'c> Tx<'c> {
    /// Returns the transaction that `connection` has begun.
    pub fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            changes: Vec::new(),
            needs: Needs::default(),
            next_due: None,
            paused: None,
        }
    }

    /// Returns the job with this id.
    pub fn find(&self, id: JobId) -> rusqlite::Result<Option<Stored>> {
        self.connection
            .prepare_cached(concat!("SELECT ", columns!(), " FROM job WHERE id = ?1"))?
            .query_row([id.as_bytes()], row::read)
            .optional()
    }

    /// Lets `event` happen to `stored` and writes everything that follows.
    pub fn step(
        &mut self,
        stored: &Stored,
        event: Event,
        now: Timestamp,
        result: Option<&JobResult>,
    ) -> rusqlite::Result<Result<Job, Rejected>> {
        let step = match domain::apply(&stored.job, event, now) {
            Ok(step) => step,
            Err(rejected) => return Ok(Err(rejected)),
        };
        self.save(stored, &step.job, now)?;
        for effect in step.effects {
            self.follow((stored, &step.job), effect, now, result)?;
        }
        Ok(Ok(step.job))
    }

    fn save(&mut self, stored: &Stored, job: &Job, now: Timestamp) -> rusqlite::Result<()> {
        self.alarm(job.due_at());
        let kept = if let Some(lease) = only_prolonged(&stored.job, job) {
            self.connection
                .prepare_cached("UPDATE job SET due_at = ?2 WHERE seq = ?1 AND state = 2")?
                .execute(params![stored.seq, lease.expires_at.as_millis()])?
                == 1
        } else {
            let mut statement = self.connection.prepare_cached(row::SAVE)?;
            row::save(&mut statement, stored.seq, &stored.job, job, now)?
        };
        // The write lock is held since before the row was read, so a miss means a damaged index.
        if kept {
            Ok(())
        } else {
            Err(rusqlite::Error::StatementChangedRows(0))
        }
    }

    fn follow(
        &mut self,
        (stored, job): (&Stored, &Job),
        effect: Effect,
        now: Timestamp,
        result: Option<&JobResult>,
    ) -> rusqlite::Result<()> {
        match effect {
            Effect::AttemptEnded {
                attempt,
                lease,
                end,
                reason,
            } => {
                let key = row::attempt_key(stored.seq, attempt);
                attempts::insert(self.connection, key, &lease, (end, reason), now, result)?;
            }
            Effect::LossUndone(attempt) => {
                let key = row::attempt_key(stored.seq, attempt);
                attempts::take_out(self.connection, key)?;
            }
            Effect::Ready => {
                self.needs.add(stored.group, &stored.pin, &stored.need);
                self.changes.push(Change::Ready {
                    job: stored.id,
                    group: stored.group,
                    avoids: job.avoid.is_some(),
                });
            }
            Effect::CancelAsked(attempt) => self.changes.push(Change::CancelAsked {
                job: stored.id,
                attempt,
            }),
            Effect::Ended(status) => self.changes.push(Change::Ended {
                job: stored.id,
                group: stored.group,
                status,
                reason: match &job.state {
                    State::Ended(ending) => ending.failure,
                    State::Queued { .. } | State::Leased(_) => None,
                },
            }),
        }
        Ok(())
    }

    /// Tells whether nothing is to be given out.
    pub fn paused(&mut self) -> rusqlite::Result<bool> {
        if let Some(paused) = self.paused {
            return Ok(paused);
        }
        let paused = hosts::paused(self.connection)?;
        self.paused = Some(paused);
        Ok(paused)
    }

    /// Notes that the switch was moved.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = Some(paused);
    }

    /// Notes that something happens by itself at `at`.
    pub fn alarm(&mut self, at: Option<Timestamp>) {
        if let (Some(at), Some(next)) = (at, self.next_due.as_mut()) {
            *next = Some(next.map_or(at, |next| next.min(at)));
        }
    }

    /// Forgets the earliest alarm, because alarms were moved wholesale.
    pub fn forget_alarms(&mut self) {
        self.next_due = None;
    }

    /// Returns a time before which nothing happens by itself, if anything ever does.
    pub fn next_due(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        if let Some(next) = self.next_due {
            return Ok(next);
        }
        let next: Option<i64> = self
            .connection
            .prepare_cached("SELECT min(due_at) FROM job WHERE due_at IS NOT NULL")?
            .query_row([], |row| row.get(0))?;
        let next = next.map(Timestamp::from_millis);
        self.next_due = Some(next);
        Ok(next)
    }
}

/// Returns the lease if it reaches further now and nothing else changed: the commonest write of
/// long jobs, which need not touch the other indexes.
fn only_prolonged<'a>(before: &Job, after: &'a Job) -> Option<&'a Lease> {
    match (&before.state, &after.state) {
        (State::Leased(old), State::Leased(new))
            if before.attempt == after.attempt && old.cancel == new.cancel =>
        {
            Some(new)
        }
        (_, _) => None,
    }
}
