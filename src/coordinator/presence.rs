//! Which hosts are there, and when each was last heard of. In memory: a heartbeat writes nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::HostId;
use crate::protocol::api::{Facts, HostMode, HostRecord, HostState, Instance};
use crate::queue::{Claimant, HostEntry};
use crate::support::clock::Timestamp;

/// Three heartbeats of five seconds.
pub const STALE_AFTER: Duration = Duration::from_secs(15);
/// When a silent host counts as gone.
pub const DOWN_AFTER: Duration = Duration::from_secs(600);
/// A clock that is further off than this is worth a warning.
const CLOCK_OFF: i64 = 2000;

/// What is known of one host.
#[derive(Debug, Clone)]
struct Host {
    entry: HostEntry,
    facts: Option<Facts>,
    blocked: Option<String>,
    clock_offset_ms: Option<i64>,
    clock_warned: bool,
    /// Nothing since this coordinator started.
    seen: Option<Instant>,
    seen_at: Timestamp,
    /// Requests that it waits in just now; each is a contact.
    waiting: u32,
    state: HostState,
    version: u64,
}

impl Host {
    fn state(&self, now: Instant) -> HostState {
        if self.waiting > 0 {
            return HostState::Live;
        }
        match self.seen.map(|seen| now.duration_since(seen)) {
            None => HostState::Down,
            Some(silent) if silent < STALE_AFTER => HostState::Live,
            Some(silent) if silent < DOWN_AFTER => HostState::Stale,
            Some(_) => HostState::Down,
        }
    }

    fn record(&self, id: &HostId, node: &str, now: Instant, leases: u32) -> HostRecord {
        let host = &self.entry.host;
        HostRecord {
            id: id.clone(),
            name: host.name.clone(),
            capabilities: host.capabilities.clone(),
            max_parallel: host.max_parallel,
            active_leases: leases,
            last_seen_at: self.seen_at,
            registered_at: self.entry.registered_at,
            updated_by: node.to_owned(),
            version: self.version,
            labels: host.labels.clone(),
            state: self.state(now),
            mode: self.entry.mode,
            blocked: self.blocked.clone(),
            clock_offset_ms: self.clock_offset_ms,
            facts: self.facts.clone(),
        }
    }
}

/// What a host says with a heartbeat.
#[derive(Debug, Default)]
pub struct News {
    /// Why it takes no work by its own decision.
    pub blocked: Option<String>,
    /// About the machine.
    pub facts: Option<Facts>,
    /// How far its clock is ahead.
    pub clock_offset_ms: Option<i64>,
}

/// What a claim needs to know of a host.
#[derive(Debug, Clone)]
pub struct Known {
    /// How it asks the queue, for one job.
    pub claimant: Claimant,
    /// How many jobs it runs at once.
    pub max_parallel: u16,
}

/// The hosts.
#[derive(Debug, Default)]
pub struct Presence(Mutex<HashMap<HostId, Host>>);

impl Presence {
    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, Host>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the queue remembers from before the start. Such hosts are down until heard of.
    pub fn remember(&self, entries: Vec<HostEntry>) {
        let mut hosts = self.hosts();
        for entry in entries {
            let facts = entry.host.facts.as_ref();
            hosts.insert(
                entry.host.id.clone(),
                Host {
                    facts: facts.and_then(|text| serde_json::from_str(text.as_str()).ok()),
                    blocked: None,
                    clock_offset_ms: None,
                    clock_warned: false,
                    seen: None,
                    seen_at: entry.updated_at,
                    waiting: 0,
                    state: HostState::Down,
                    version: version_of(entry.updated_at),
                    entry,
                },
            );
        }
    }

    /// Returns who else speaks for `id` just now, if `instance` is not that process or its successor.
    pub fn rival(&self, id: &HostId, instance: Option<&Instance>) -> bool {
        let Some(instance) = instance else {
            return false;
        };
        let hosts = self.hosts();
        hosts.get(id).is_some_and(|host| {
            let other = host.entry.host.state_id.as_ref();
            other.is_some_and(|other| *other != instance.state_id)
                && host.state(Instant::now()) == HostState::Live
        })
    }

    /// Takes note of a registration. Returns whether the host was not live before.
    pub fn registered(&self, entry: HostEntry, news: News, now: Timestamp) -> bool {
        let mut hosts = self.hosts();
        let id = entry.host.id.clone();
        let before = hosts.remove(&id);
        let was_live = before
            .as_ref()
            .is_some_and(|host| host.state == HostState::Live);
        let mut host = Host {
            facts: before.as_ref().and_then(|host| host.facts.clone()),
            blocked: None,
            clock_offset_ms: None,
            clock_warned: before.as_ref().is_some_and(|host| host.clock_warned),
            seen: None,
            seen_at: now,
            waiting: before.as_ref().map_or(0, |host| host.waiting),
            state: HostState::Live,
            version: before
                .as_ref()
                .map_or(0, |host| host.version)
                .max(version_of(now)),
            entry,
        };
        hear(&id, &mut host, now);
        take(&id, &mut host, news);
        hosts.insert(id, host);
        !was_live
    }

    /// Takes note of a heartbeat. Nothing if the host is not known; otherwise whether it was silent before.
    pub fn heartbeat(&self, id: &HostId, news: News, now: Timestamp) -> Option<bool> {
        let mut hosts = self.hosts();
        let host = hosts.get_mut(id)?;
        let back = hear(id, host, now);
        take(id, host, news);
        Some(back)
    }

    /// Tells whether a heartbeat of `instance` comes from another state directory than the one registered.
    pub fn is_foreign(&self, id: &HostId, instance: &Instance) -> bool {
        let hosts = self.hosts();
        hosts
            .get(id)
            .and_then(|host| host.entry.host.state_id.as_ref())
            .is_some_and(|known| *known != instance.state_id)
    }

    /// Takes note that a host asked for something, and returns what a claim needs to know of it.
    pub fn contact(&self, id: &HostId, now: Timestamp) -> Option<(Known, bool)> {
        let mut hosts = self.hosts();
        let host = hosts.get_mut(id)?;
        let back = hear(id, host, now);
        let entry = &host.entry.host;
        let known = Known {
            claimant: Claimant {
                names: HostId::new(entry.name.as_str())
                    .ok()
                    .filter(|name| name != id)
                    .into_iter()
                    .collect(),
                capabilities: entry.capabilities.clone(),
                labels: entry.labels.clone(),
                ..Claimant::new(id.clone())
            },
            max_parallel: entry.max_parallel,
        };
        Some((known, back))
    }

    /// Notes that `id` waits in a request, or does no longer.
    pub fn waits(&self, id: &HostId, begins: bool, now: Timestamp) {
        let mut hosts = self.hosts();
        if let Some(host) = hosts.get_mut(id) {
            host.waiting = if begins {
                host.waiting.saturating_add(1)
            } else {
                host.waiting.saturating_sub(1)
            };
            hear(id, host, now);
        }
    }

    /// Tells whether the host is known.
    pub fn contains(&self, id: &HostId) -> bool {
        self.hosts().contains_key(id)
    }

    /// Tells whether the host may be given work.
    pub fn is_active(&self, id: &HostId) -> bool {
        let hosts = self.hosts();
        hosts
            .get(id)
            .is_some_and(|host| host.entry.mode == HostMode::Active)
    }

    /// Takes over what the queue says of a host after its mode changed.
    pub fn changed(&self, entry: HostEntry) {
        let mut hosts = self.hosts();
        if let Some(host) = hosts.get_mut(&entry.host.id) {
            host.version = host.version.max(version_of(entry.updated_at)) + 1;
            host.entry = entry;
        }
    }

    /// Forgets a host.
    pub fn forget(&self, id: &HostId) {
        self.hosts().remove(id);
    }

    /// Returns the host as others see it, with `leases` leases.
    pub fn record(&self, id: &HostId, node: &str, leases: u32) -> Option<HostRecord> {
        let now = Instant::now();
        let hosts = self.hosts();
        hosts.get(id).map(|host| host.record(id, node, now, leases))
    }

    /// Returns every host as others see it, by name, without leases.
    pub fn records(&self, node: &str) -> Vec<HostRecord> {
        let now = Instant::now();
        let mut records: Vec<HostRecord> = self
            .hosts()
            .iter()
            .map(|(id, host)| host.record(id, node, now, 0))
            .collect();
        records.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
        records
    }

    /// Returns the hosts whose state changed because they were silent since this was last asked.
    pub fn fallen_silent(&self) -> Vec<(HostId, HostState)> {
        let now = Instant::now();
        let mut fallen = Vec::new();
        for (id, host) in self.hosts().iter_mut() {
            let state = host.state(now);
            if state != host.state {
                host.state = state;
                fallen.push((id.clone(), state));
            }
        }
        fallen
    }

    /// Returns the hosts that were not heard of for `span`, nor since they last registered.
    pub fn silent_for(&self, span: Duration, now: Timestamp) -> Vec<HostId> {
        let hosts = self.hosts();
        hosts
            .iter()
            .filter(|(_, host)| host.waiting == 0 && now.since(host.seen_at) > span)
            .map(|(id, _)| id.clone())
            .collect()
    }
}

/// Versions never go back over a restart, because they begin at the time of the entry.
fn version_of(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0)
}

fn hear(id: &HostId, host: &mut Host, now: Timestamp) -> bool {
    host.seen = Some(Instant::now());
    host.seen_at = now;
    let back = host.state != HostState::Live;
    host.state = HostState::Live;
    if back {
        host.version += 1;
        tracing::debug!(host = %id, "a host is back");
    }
    back
}

fn take(id: &HostId, host: &mut Host, news: News) {
    host.version += 1;
    host.blocked = news.blocked;
    if news.facts.is_some() {
        host.facts = news.facts;
    }
    if let Some(offset) = news.clock_offset_ms {
        host.clock_offset_ms = Some(offset);
        let off = offset.abs() > CLOCK_OFF;
        if off && !host.clock_warned {
            tracing::warn!(host = %id, offset_ms = offset, "the clock of a host is off");
        }
        host.clock_warned = off || host.clock_warned;
    }
}
