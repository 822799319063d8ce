//! The leases that are out, mirrored in memory, so that heartbeats need not ask the queue.
//!
//! The queue is the truth. An entry that is missing here costs a question to the queue, and one that
//! is here wrongly is found out by the first renewal; neither changes who holds what.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::protocol::{AttemptNo, HostId, JobId, LeaseToken};
use crate::queue::{Claimed, HeldLease, LeaseRef};
use crate::support::clock::Timestamp;

/// Payloads up to this size are kept for the answer to the completion; longer ones are read again.
const KEPT_PAYLOAD: usize = 16 << 10;

/// A lease that is out.
#[derive(Debug, Clone)]
pub struct Held {
    /// Which job.
    pub job: JobId,
    /// Who holds it.
    pub host: HostId,
    /// Which try.
    pub attempt: AttemptNo,
    /// What the holder shows.
    pub token: LeaseToken,
    /// When it was given.
    pub since: Timestamp,
    /// When it runs out.
    pub expires_at: Timestamp,
    /// A cancel was asked.
    pub cancel: bool,
    /// The holder's open poll was told to send a heartbeat because of that.
    pub nudged: bool,
    /// Its holder runs one job at a time and asked for another since: nobody works on this one. It
    /// stands until it runs out, so that a late completion still counts.
    pub left: bool,
    /// What was given, if it is not too long to keep.
    pub claimed: Option<Arc<Claimed>>,
}

impl Held {
    /// Returns what its holder shows.
    pub const fn lease(&self) -> LeaseRef {
        LeaseRef::new(self.job, self.attempt, self.token)
    }
}

#[derive(Debug, Default)]
struct Table {
    jobs: HashMap<JobId, Held>,
    hosts: HashMap<HostId, BTreeSet<JobId>>,
}

impl Table {
    fn insert(&mut self, held: Held) {
        self.remove(held.job, None);
        self.hosts
            .entry(held.host.clone())
            .or_default()
            .insert(held.job);
        self.jobs.insert(held.job, held);
    }

    fn remove(&mut self, job: JobId, token: Option<LeaseToken>) -> Option<Held> {
        let held = self.jobs.get(&job)?;
        if token.is_some_and(|token| token != held.token) {
            return None;
        }
        let held = self.jobs.remove(&job)?;
        if let Some(jobs) = self.hosts.get_mut(&held.host) {
            jobs.remove(&job);
            if jobs.is_empty() {
                self.hosts.remove(&held.host);
            }
        }
        Some(held)
    }
}

/// The leases that are out.
#[derive(Debug, Default)]
pub struct Leases(Mutex<Table>);

impl Leases {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a claim gave. Returns what of it is new: the rest was given to the same request before.
    pub fn given<'c>(&self, claimed: &'c [Claimed]) -> Vec<&'c Claimed> {
        let mut new = Vec::new();
        if claimed.is_empty() {
            return new;
        }
        let mut table = self.table();
        for one in claimed {
            let before = table.remove(one.job, Some(one.token));
            if before.is_none() {
                new.push(one);
            }
            let keep = one.payload.as_str().len() <= KEPT_PAYLOAD;
            table.insert(Held {
                job: one.job,
                host: one.host.clone(),
                attempt: one.attempt,
                token: one.token,
                since: one.expires_at.minus(one.lease_for),
                expires_at: one.expires_at,
                // Asked before its holder knew of it, that is still to be heard of.
                cancel: before.is_some_and(|held| held.cancel),
                nudged: false,
                left: false,
                claimed: keep.then(|| Arc::new(one.clone())),
            });
        }
        new
    }

    /// Notes what the queue says `host` holds, in place of what was known.
    pub fn found(&self, host: &HostId, leases: &[HeldLease]) {
        let mut table = self.table();
        for job in table.hosts.get(host).cloned().unwrap_or_default() {
            let known = table.jobs.get(&job).map(|held| held.token);
            let there = leases
                .iter()
                .any(|one| one.job == job && Some(one.token) == known);
            if !there {
                table.remove(job, None);
            }
        }
        for one in leases {
            let before = table.remove(one.job, Some(one.token));
            table.insert(Held {
                job: one.job,
                host: host.clone(),
                attempt: one.attempt,
                token: one.token,
                since: one.since,
                expires_at: one.expires_at,
                cancel: one.cancel.is_some(),
                nudged: before.as_ref().is_some_and(|held| held.nudged),
                left: before.as_ref().is_some_and(|held| held.left),
                claimed: before.and_then(|held| held.claimed),
            });
        }
    }

    /// Returns the lease on `job`.
    pub fn get(&self, job: JobId) -> Option<Held> {
        self.table().jobs.get(&job).cloned()
    }

    /// Returns the leases of `host`.
    pub fn of(&self, host: &HostId) -> Vec<Held> {
        let table = self.table();
        table
            .hosts
            .get(host)
            .into_iter()
            .flatten()
            .filter_map(|job| table.jobs.get(job).cloned())
            .collect()
    }

    /// Returns who holds any lease.
    pub fn hosts(&self) -> Vec<HostId> {
        self.table().hosts.keys().cloned().collect()
    }

    /// Returns how many leases `host` holds and may be working on.
    pub fn count(&self, host: &HostId) -> u32 {
        let table = self.table();
        let jobs = table.hosts.get(host).into_iter().flatten();
        let active = jobs.filter_map(|job| table.jobs.get(job));
        let count = active.filter(|held| !held.left).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Notes that a lease is over, if it is the one with this token.
    pub fn over(&self, job: JobId, token: LeaseToken) -> Option<Held> {
        self.table().remove(job, Some(token))
    }

    /// Notes that nobody holds `job` any more.
    pub fn gone(&self, job: JobId) -> Option<Held> {
        self.table().remove(job, None)
    }

    /// Notes how far a lease reaches now.
    pub fn renewed(&self, job: JobId, token: LeaseToken, until: Timestamp) {
        let mut table = self.table();
        if let Some(held) = table.jobs.get_mut(&job).filter(|held| held.token == token) {
            held.expires_at = held.expires_at.max(until);
        }
    }

    /// Notes that nobody works on these leases any more, except on those that were `given` since.
    pub fn left(&self, before: &[Held], given: &[Claimed]) {
        if before.is_empty() {
            return;
        }
        let mut table = self.table();
        for one in before {
            let anew = given.iter().any(|claimed| claimed.token == one.token);
            if let Some(held) = table.jobs.get_mut(&one.job)
                && held.token == one.token
            {
                held.left = !anew;
            }
        }
    }

    /// Notes that `host` says by name what it works on, so that nothing has to be guessed.
    pub fn named(&self, host: &HostId) {
        let mut guard = self.table();
        let table = &mut *guard;
        for job in table.hosts.get(host).into_iter().flatten() {
            if let Some(held) = table.jobs.get_mut(job) {
                held.left = false;
            }
        }
    }

    /// Notes that the holder of `job` is to end it. Returns who that is.
    pub fn cancelled(&self, job: JobId) -> Option<HostId> {
        let mut table = self.table();
        let held = table.jobs.get_mut(&job)?;
        held.cancel = true;
        Some(held.host.clone())
    }

    /// Tells whether `host` should send a heartbeat to hear of a cancel. Says so once for each.
    pub fn nudge(&self, host: &HostId) -> bool {
        let mut guard = self.table();
        let table = &mut *guard;
        let mut news = false;
        for job in table.hosts.get(host).into_iter().flatten() {
            if let Some(held) = table.jobs.get_mut(job)
                && held.cancel
                && !held.nudged
            {
                held.nudged = true;
                news = true;
            }
        }
        news
    }
}

/// Tells whether a lease that reaches until `expires_at` is worth a write: less than two thirds are left.
pub fn is_due(expires_at: Timestamp, now: Timestamp, lease_for: Duration) -> bool {
    expires_at.since(now) < lease_for * 2 / 3
}
