//! The leases this host holds, from the claim until the coordinator has the result.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::protocol::api::{LeaseName, LeaseState, LeaseWord};
use crate::protocol::{AttemptNo, JobId};
use crate::support::clock::Timestamp;

/// Why a job is to end. A later one counts more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// A person took it back, perhaps with a reason and a time for it to tidy up.
    Cancel(Option<String>, Option<Duration>),
    /// The host's owner ended it here.
    Owner,
    /// Whoever runs it is stopping.
    Drain,
    /// Whoever runs it is stopping and has no more time.
    Now,
    /// The lease ran out or is another's: it ends at once, and its result counts for nothing.
    Lost,
}

/// How a running job is reached.
pub trait Stoppable {
    /// Asks for the end.
    fn stop(&self, why: Stop);
    /// Moves the time by the steady clock from which the lease may not be trusted any more.
    fn prolong(&self, until: Option<Timestamp>);
}

/// Which attempt of which job.
pub type Key = (JobId, AttemptNo);

/// One lease.
#[derive(Debug)]
pub struct Held<O> {
    /// Which attempt, and its proof.
    pub lease: LeaseName,
    /// The word for its kind.
    pub kind: String,
    /// Who asked for it.
    pub submitted_by: Option<String>,
    /// By the clock on the wall.
    pub since: Timestamp,
    /// How to reach the process, while it runs.
    pub orders: Option<Arc<O>>,
}

/// All of them.
#[derive(Debug)]
pub struct Table<O> {
    held: Mutex<BTreeMap<Key, Held<O>>>,
    kill_on_lost: bool,
}

impl<O: Stoppable> Table<O> {
    /// Returns an empty one. Jobs whose lease is lost are ended, or else run on.
    pub fn new(kill_on_lost: bool) -> Self {
        Self {
            held: Mutex::default(),
            kill_on_lost,
        }
    }

    /// Returns until when a lease may be trusted that lasts `lease_for` from when the request for it was
    /// sent: given up before the coordinator does. Nothing if it does not say, or the owner does not mind.
    pub fn until(&self, sent_at: Timestamp, lease_ms: u64) -> Option<Timestamp> {
        (self.kill_on_lost && lease_ms > 0)
            .then(|| sent_at.plus(Duration::from_millis(lease_ms - lease_ms / 10)))
    }

    /// Takes in a lease.
    pub fn insert(&self, held: Held<O>) {
        self.held().insert(key(&held.lease), held);
    }

    /// Notes that the process is over and the result is on its way.
    pub fn ended(&self, key: Key) {
        if let Some(held) = self.held().get_mut(&key) {
            held.orders = None;
        }
    }

    /// Forgets a lease that is over.
    pub fn remove(&self, key: Key) {
        self.held().remove(&key);
    }

    /// Returns what to name in heartbeats.
    pub fn leases(&self) -> Vec<LeaseName> {
        self.held().values().map(|held| held.lease).collect()
    }

    /// Returns all of them.
    pub fn all(&self) -> Vec<Held<O>> {
        self.held().values().cloned().collect()
    }

    /// Returns how many leases are held, also those whose results are on their way.
    pub fn len(&self) -> usize {
        self.held().len()
    }

    /// Tells whether no lease is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many processes run.
    pub fn running(&self) -> usize {
        let held = self.held();
        held.values().filter(|held| held.orders.is_some()).count()
    }

    /// Asks every running job to end.
    pub fn stop_all(&self, why: &Stop) {
        for held in self.held().values() {
            if let Some(orders) = &held.orders {
                orders.stop(why.clone());
            }
        }
    }

    /// Asks the attempts of one job to end. Returns whether any runs.
    pub fn stop(&self, job: JobId, why: &Stop) -> bool {
        let held = self.held();
        let running = held
            .values()
            .filter(|held| held.lease.job_id == job)
            .filter_map(|held| held.orders.as_ref());
        running.fold(false, |_, orders| {
            orders.stop(why.clone());
            true
        })
    }

    /// Takes over what the coordinator says of leases that were named in a request sent at `sent_at`.
    pub fn told(&self, states: &[LeaseState], sent_at: Timestamp) {
        let held = self.held();
        for state in states {
            let Some(orders) = held
                .get(&(state.job_id, state.attempt))
                .and_then(|held| held.orders.as_ref())
            else {
                continue;
            };
            match state.state {
                LeaseWord::Held => orders.prolong(self.until(sent_at, state.lease_ms)),
                LeaseWord::Cancel => {
                    // It reaches as far as the job may tidy up.
                    orders.prolong(self.until(sent_at, state.lease_ms));
                    let grace = state.grace_ms.map(Duration::from_millis);
                    orders.stop(Stop::Cancel(state.reason.clone(), grace));
                }
                LeaseWord::Lost if self.kill_on_lost => orders.stop(Stop::Lost),
                LeaseWord::Lost => {}
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Key, Held<O>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns which attempt a lease is for.
pub const fn key(lease: &LeaseName) -> Key {
    (lease.job_id, lease.attempt)
}

impl<O> Clone for Held<O> {
    fn clone(&self) -> Self {
        Self {
            lease: self.lease,
            kind: self.kind.clone(),
            submitted_by: self.submitted_by.clone(),
            since: self.since,
            orders: self.orders.clone(),
        }
    }
}
