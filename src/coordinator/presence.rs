//! Which hosts are there, and when each was last heard of. In memory: a heartbeat writes nothing.

mod host;
mod services;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::host::{Host, hear, take, version_of};
pub use self::host::{News, STALE_AFTER};
pub use self::services::Silence;

use super::caller::Said;
use super::rank::Standing;
use crate::protocol::api::{HostMode, HostRecord, HostState, Instance};
use crate::protocol::{HostId, Requirement};
use crate::queue::{Claimant, HostEntry};
use crate::support::clock::Timestamp;

/// What a claim needs to know of a host.
#[derive(Debug, Clone)]
pub struct Known {
    /// How it asks the queue, for one job.
    pub claimant: Claimant,
    /// How many jobs it runs at once.
    pub max_parallel: u16,
    /// It says by name which leases it works on.
    pub names_leases: bool,
}

/// Returns capabilities as jobs ask for them.
pub fn tidy(words: Vec<String>) -> Vec<String> {
    Requirement {
        required_capabilities: words,
        ..Requirement::default()
    }
    .normalized()
    .required_capabilities
}

/// The hosts.
#[derive(Debug, Default)]
pub struct Presence {
    all: Mutex<HashMap<HostId, Host>>,
    /// Nobody tells it who is there.
    blind: bool,
}

impl Presence {
    /// Returns one that hears of nobody and so says of nobody whether it is there.
    pub fn blind() -> Self {
        Self {
            blind: true,
            ..Self::default()
        }
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, Host>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
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
                    facts_at: None,
                    weight: 1,
                    blocked: None,
                    clock_offset_ms: None,
                    clock_warned: false,
                    seen: None,
                    seen_at: entry.updated_at,
                    spoke: None,
                    syncs: false,
                    leaving: false,
                    waiting: 0,
                    tunnels: false,
                    cut: false,
                    gone: false,
                    names_leases: false,
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
            facts_at: before.as_ref().and_then(|host| host.facts_at),
            weight: 1,
            blocked: None,
            clock_offset_ms: None,
            clock_warned: before.as_ref().is_some_and(|host| host.clock_warned),
            seen: None,
            seen_at: now,
            spoke: Some(Instant::now()),
            syncs: before.as_ref().is_some_and(|host| host.syncs),
            leaving: false,
            waiting: before.as_ref().map_or(0, |host| host.waiting),
            tunnels: before.as_ref().is_some_and(|host| host.tunnels),
            cut: false,
            gone: false,
            names_leases: false,
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
        host.spoke = Some(Instant::now());
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
        host.spoke = Some(Instant::now());
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
            names_leases: host.names_leases,
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

    /// Returns what the host is called; nothing if it is not known.
    pub fn name_of(&self, id: &HostId) -> Option<String> {
        let hosts = self.hosts();
        hosts.get(id).map(|host| host.entry.host.name.clone())
    }

    /// Tells whether a host registered with other labels or capabilities, another weight or more slots than are `said` of it
    /// now.
    pub fn is_outdated(&self, id: &HostId, said: &Said) -> bool {
        let hosts = self.hosts();
        hosts.get(id).is_some_and(|known| {
            let host = &known.entry.host;
            let is_known = |words: &Vec<String>| tidy(words.clone()) == host.capabilities;
            host.labels != said.labels
                || !said.capabilities.as_ref().is_none_or(is_known)
                || host.max_parallel > said.slots
                || known.weight != said.weight.max(1)
        })
    }

    /// Returns how many hosts are called so.
    pub fn count_called(&self, name: &str) -> usize {
        let hosts = self.hosts();
        let called = hosts.values().filter(|host| host.entry.host.name == name);
        called.count()
    }

    /// Tells whether the host is known.
    pub fn contains(&self, id: &HostId) -> bool {
        self.hosts().contains_key(id)
    }

    /// Returns how the host stands among those that wait for work, with `leases` leases.
    pub fn standing(&self, id: &HostId, leases: u32) -> Standing {
        let now = Instant::now();
        let hosts = self.hosts();
        hosts.get(id).map_or_else(
            || Standing::of((leases, 1), 1, None),
            |host| host.standing(now, leases),
        )
    }

    /// Returns how many jobs all hosts that are there run at once.
    pub fn slots(&self) -> u32 {
        let now = Instant::now();
        let hosts = self.hosts();
        hosts
            .values()
            .filter(|host| host.state(now) == HostState::Live)
            .map(|host| u32::from(host.entry.host.max_parallel))
            .sum()
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

    /// Tells whether a host other than `id` is there and meets `requirement`.
    pub fn other_can(&self, id: &HostId, requirement: &Requirement) -> bool {
        let now = Instant::now();
        let hosts = self.hosts();
        hosts
            .iter()
            .any(|(other, host)| other != id && host.could_run(other, requirement, now))
    }

    /// Notes that `id` comes through its tunnel.
    pub fn tunnels(&self, id: &HostId) {
        if let Some(host) = self.hosts().get_mut(id) {
            host.tunnels = true;
        }
    }

    /// Notes that no connection is left through the tunnel of the host called `name`. Who waited in a request that
    /// was cut off, or `holds` leases, is not heard of any more.
    pub fn deserted(&self, name: &str, holds: impl Fn(&HostId) -> bool) {
        for (id, host) in self.hosts().iter_mut() {
            let cut = host.cut || holds(id);
            if host.tunnels && host.waiting == 0 && cut && host.entry.host.name == name {
                host.gone = true;
            }
        }
    }

    /// Notes that the request was cut off that `id` waited in.
    pub fn cut_off(&self, id: &HostId) {
        if let Some(host) = self.hosts().get_mut(id) {
            host.cut = true;
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
        let host = hosts.get(id)?;
        Some(self.as_known(host.record(id, node, now, leases)))
    }

    fn as_known(&self, record: HostRecord) -> HostRecord {
        match self.blind {
            true => HostRecord {
                state: HostState::Unknown,
                ..record
            },
            false => record,
        }
    }

    /// Returns every host as others see it, by name, without leases.
    pub fn records(&self, node: &str) -> Vec<HostRecord> {
        let now = Instant::now();
        let mut records: Vec<HostRecord> = self
            .hosts()
            .iter()
            .map(|(id, host)| self.as_known(host.record(id, node, now, 0)))
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

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::queue::NewHost;

    pub fn entry(id: &str, state_id: &str) -> HostEntry {
        HostEntry {
            host: NewHost {
                id: HostId::new(id).unwrap(),
                name: id.to_owned(),
                capabilities: Vec::new(),
                labels: std::collections::BTreeMap::new(),
                max_parallel: 1,
                state_id: Some(state_id.to_owned()),
                facts: None,
            },
            mode: HostMode::Active,
            registered_at: Timestamp::from_millis(1),
            updated_at: Timestamp::from_millis(1),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn three_missed_heartbeats_are_stale_and_ten_minutes_are_down() {
        let presence = Presence::default();
        let (id, at) = (HostId::new("a").unwrap(), Timestamp::from_millis(5));
        presence.remember(vec![entry("a", "d")]);
        let state = || presence.record(&id, "n", 0).unwrap().state;
        assert_eq!(state(), HostState::Down);
        assert!(presence.registered(entry("a", "d"), News::default(), at));
        assert_eq!(state(), HostState::Live);
        tokio::time::advance(host::STALE_AFTER).await;
        assert_eq!(state(), HostState::Stale);
        assert_eq!(presence.fallen_silent(), [(id.clone(), HostState::Stale)]);
        assert_eq!(presence.fallen_silent(), []);
        assert_eq!(presence.heartbeat(&id, News::default(), at), Some(true));
        assert_eq!(presence.heartbeat(&id, News::default(), at), Some(false));
        presence.waits(&id, true, at);
        tokio::time::advance(host::DOWN_AFTER).await;
        assert_eq!(state(), HostState::Live, "an open request is a contact");
        presence.waits(&id, false, at);
        tokio::time::advance(host::DOWN_AFTER).await;
        assert_eq!(state(), HostState::Down);
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_is_free_for_another_machine_once_its_host_is_silent() {
        let presence = Presence::default();
        let (id, at) = (HostId::new("a").unwrap(), Timestamp::from_millis(5));
        presence.registered(entry("a", "disk-1"), News::default(), at);
        let other = Instance {
            state_id: "disk-2".to_owned(),
            process_id: "p".to_owned(),
        };
        assert!(presence.rival(&id, Some(&other)));
        assert!(!presence.rival(&id, None));
        tokio::time::advance(host::STALE_AFTER).await;
        assert!(!presence.rival(&id, Some(&other)));
    }
}
