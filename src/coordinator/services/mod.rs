//! Services while the coordinator runs: the newest form of each, who waits for news of them, and what keeps them
//! placed. The truth is in the queue; this is its mirror, so that a waiting host costs no read.

pub mod endpoint;
pub mod reach;
pub mod reconcile;
pub mod relay;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Room;
use crate::protocol::HostId;
use crate::protocol::api::{Event, ServiceRecord};

type Mirror = BTreeMap<String, Arc<ServiceRecord>>;

/// What is shared about services.
#[derive(Debug, Default)]
pub struct Desk {
    mirror: Mutex<Mirror>,
    seats: Mutex<HashMap<HostId, Arc<Notify>>>,
    /// Raised with every change of any service.
    changes: AtomicU64,
    /// Something may have to be placed.
    due: Notify,
    /// Output on its way.
    pub relay: relay::Relay,
}

impl Desk {
    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<HostId, Arc<Notify>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a desk that knows of these services.
    pub fn of(services: Vec<ServiceRecord>) -> Self {
        let desk = Self::default();
        let known = services.into_iter();
        *desk.mirror() = known.map(|one| (one.id.clone(), Arc::new(one))).collect();
        desk
    }

    /// Returns every service.
    pub fn all(&self) -> Vec<Arc<ServiceRecord>> {
        self.mirror().values().cloned().collect()
    }

    /// Returns how many services there are.
    pub fn count(&self) -> usize {
        self.mirror().len()
    }

    /// Returns the service with this id.
    pub fn get(&self, id: &str) -> Option<Arc<ServiceRecord>> {
        self.mirror().get(id).cloned()
    }

    /// Returns where `host` waits for its news.
    pub fn seat(&self, host: &HostId) -> Arc<Notify> {
        Arc::clone(self.seats().entry(host.clone()).or_default())
    }

    /// Forgets a host that is gone.
    pub fn forget(&self, host: &HostId) {
        if let Some(seat) = self.seats().remove(host) {
            seat.notify_waiters();
        }
        self.wake();
    }

    /// Says that something other than a service has changed that decides where services run.
    pub fn wake(&self) {
        self.due.notify_one();
    }

    /// Wakes `host` if it waits: what it hears has changed although no service has.
    pub fn nudge(&self, host: &HostId) {
        if let Some(seat) = self.seats().get(host) {
            seat.notify_waiters();
        }
    }

    /// Wakes every host that waits.
    pub fn nudge_all(&self) {
        for seat in self.seats().values() {
            seat.notify_waiters();
        }
    }

    /// Takes over a service unless a newer form of it is known. Returns whether it is news.
    fn take(&self, service: &ServiceRecord) -> bool {
        let mut mirror = self.mirror();
        let before = mirror.get(&service.id);
        // Who deploys under the id of a service that was removed begins at version 1 again.
        let age = |one: &ServiceRecord| (one.created_at, one.version);
        if before.is_some_and(|before| age(before) >= age(service)) {
            return false;
        }
        let before = mirror.insert(service.id.clone(), Arc::new(service.clone()));
        drop(mirror);
        self.concerns(before.as_deref().into_iter().chain([service]));
        true
    }

    /// Forgets a service.
    fn drop_one(&self, id: &str) -> Option<Arc<ServiceRecord>> {
        let gone = self.mirror().remove(id)?;
        self.concerns([&*gone]);
        Some(gone)
    }

    /// Tells the hosts of these services that there is news.
    fn concerns<'s>(&self, services: impl IntoIterator<Item = &'s ServiceRecord>) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        let assignments = services.into_iter().flat_map(|one| &one.assignments);
        let hosts: BTreeSet<&HostId> = assignments.map(|one| &one.host_id).collect();
        let seats = self.seats();
        for seat in hosts.into_iter().filter_map(|host| seats.get(host)) {
            seat.notify_waiters();
        }
    }
}

impl Room {
    /// Takes note of services as they are now, after whatever changed them, and tells whom that concerns.
    pub fn services_changed<'s>(&self, services: impl IntoIterator<Item = &'s ServiceRecord>) {
        let mut any = false;
        for service in services {
            if self.desk.take(service) {
                any = true;
                self.tell_of(service);
            }
        }
        if any {
            self.desk.wake();
        }
    }

    /// Takes note that a service is no more.
    pub fn service_gone(&self, id: &str) {
        if let Some(gone) = self.desk.drop_one(id) {
            self.tell_of(&gone);
            self.desk.wake();
        }
    }

    fn tell_of(&self, service: &ServiceRecord) {
        self.tell(Event::ServiceChanged {
            at: self.now(),
            service_id: service.id.clone(),
            name: service.name.clone(),
        });
    }
}
