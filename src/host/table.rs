//! The leases this host holds, from the claim until the coordinator has the result.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::runner::orders::{Orders, Stop};
use super::settings::OnLeaseLost;
use crate::protocol::api::{LeaseName, LeaseState, LeaseWord};
use crate::protocol::{AttemptNo, JobId};
use crate::support::clock::Timestamp;

/// Which attempt of which job.
pub(super) type Key = (JobId, AttemptNo);

/// One lease.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub lease: LeaseName,
    pub kind: String,
    pub submitted_by: Option<String>,
    /// By the clock on the wall.
    pub since: Timestamp,
    /// How to reach the process, while it runs.
    pub orders: Option<Arc<Orders>>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Table {
    held: Mutex<BTreeMap<Key, Held>>,
    on_lost: OnLeaseLost,
}

impl Table {
    pub(super) fn new(on_lost: OnLeaseLost) -> Self {
        Self {
            held: Mutex::default(),
            on_lost,
        }
    }

    /// Returns until when a lease may be trusted that lasts `lease_for` from when the request for it was
    /// sent: given up before the coordinator does. Nothing if it does not say, or the owner does not mind.
    pub(super) fn until(&self, sent_at: Timestamp, lease_ms: u64) -> Option<Timestamp> {
        match self.on_lost {
            OnLeaseLost::Kill if lease_ms > 0 => {
                Some(sent_at.plus(Duration::from_millis(lease_ms - lease_ms / 10)))
            }
            OnLeaseLost::Kill | OnLeaseLost::Finish => None,
        }
    }

    pub(super) fn insert(&self, held: Held) {
        self.held().insert(key(&held.lease), held);
    }

    /// Notes that the process is over and the result is on its way.
    pub(super) fn ended(&self, key: Key) {
        if let Some(held) = self.held().get_mut(&key) {
            held.orders = None;
        }
    }

    pub(super) fn remove(&self, key: Key) {
        self.held().remove(&key);
    }

    /// Returns what to name in heartbeats.
    pub(super) fn leases(&self) -> Vec<LeaseName> {
        self.held().values().map(|held| held.lease).collect()
    }

    pub(super) fn all(&self) -> Vec<Held> {
        self.held().values().cloned().collect()
    }

    /// Returns how many leases are held, also those whose results are on their way.
    pub(super) fn len(&self) -> usize {
        self.held().len()
    }

    /// Returns how many processes run.
    pub(super) fn running(&self) -> usize {
        let held = self.held();
        held.values().filter(|held| held.orders.is_some()).count()
    }

    /// Asks every running job to end.
    pub(super) fn stop_all(&self, why: &Stop) {
        for held in self.held().values() {
            if let Some(orders) = &held.orders {
                orders.stop(why.clone());
            }
        }
    }

    /// Asks the attempts of one job to end. Returns whether any runs.
    pub(super) fn stop(&self, job: JobId, why: &Stop) -> bool {
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
    pub(super) fn told(&self, states: &[LeaseState], sent_at: Timestamp) {
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
                LeaseWord::Lost if self.on_lost == OnLeaseLost::Kill => orders.stop(Stop::Lost),
                LeaseWord::Lost => {}
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Key, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns which attempt a lease is for.
pub(super) const fn key(lease: &LeaseName) -> Key {
    (lease.job_id, lease.attempt)
}
