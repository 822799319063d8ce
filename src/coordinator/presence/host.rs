//! One host as this coordinator has seen it.

use std::time::Duration;

use tokio::time::Instant;

use crate::coordinator::rank::Standing;
use crate::protocol::api::{Facts, HostMode, HostRecord, HostState};
use crate::protocol::{HostId, Requirement};
use crate::queue::HostEntry;
use crate::support::clock::Timestamp;

/// Three heartbeats of five seconds.
pub const STALE_AFTER: Duration = Duration::from_secs(15);
/// When a silent host counts as gone.
pub const DOWN_AFTER: Duration = Duration::from_secs(600);
/// A clock that is further off than this is worth a warning.
const CLOCK_OFF: i64 = 2000;

/// What is known of one host.
#[derive(Debug, Clone)]
pub struct Host {
    pub entry: HostEntry,
    pub facts: Option<Facts>,
    /// When it told them, if that was since this coordinator started.
    pub facts_at: Option<Instant>,
    /// Its share of the work relative to other hosts.
    pub weight: u32,
    pub blocked: Option<String>,
    pub clock_offset_ms: Option<i64>,
    pub clock_warned: bool,
    /// Nothing since this coordinator started.
    pub seen: Option<Instant>,
    pub seen_at: Timestamp,
    /// The same for requests of its own alone: that one of them still waits says nothing of a host whose network
    /// is gone.
    pub spoke: Option<Instant>,
    /// It syncs services; hosts of the original claim them.
    pub syncs: bool,
    /// It said so with its last sync: it is about to end.
    pub leaving: bool,
    /// Requests that it waits in just now; each is a contact.
    pub waiting: u32,
    /// It comes through its tunnel.
    pub tunnels: bool,
    /// The last request that it waited in was cut off.
    pub cut: bool,
    /// Nothing is left of its connections.
    pub gone: bool,
    /// It says by name which leases it works on; hosts of the original only count them.
    pub names_leases: bool,
    pub state: HostState,
    pub version: u64,
}

impl Host {
    pub fn state(&self, now: Instant) -> HostState {
        if self.waiting > 0 {
            return HostState::Live;
        }
        match self.seen.map(|seen| now.duration_since(seen)) {
            None => HostState::Down,
            Some(silent) if silent < STALE_AFTER && !self.gone => HostState::Live,
            Some(silent) if silent < DOWN_AFTER => HostState::Stale,
            Some(_) => HostState::Down,
        }
    }

    /// Tells whether it is there and meets `requirement`, be it busy or not.
    pub fn could_run(&self, id: &HostId, requirement: &Requirement, now: Instant) -> bool {
        let host = &self.entry.host;
        let names = [id.as_str(), host.name.as_str()];
        self.entry.mode == HostMode::Active
            && self.blocked.is_none()
            && self.state(now) == HostState::Live
            && requirement.is_met_by(names.into_iter(), &host.capabilities, &host.labels)
    }

    /// Returns how it stands among those that wait for work, with `leases` leases.
    pub fn standing(&self, now: Instant, leases: u32) -> Standing {
        let facts = self.facts.as_ref().zip(self.facts_at);
        let facts = facts.map(|(facts, at)| (facts, now.duration_since(at)));
        Standing::of((leases, self.entry.host.max_parallel), self.weight, facts)
    }

    pub fn record(&self, id: &HostId, node: &str, now: Instant, leases: u32) -> HostRecord {
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
    /// Its share of the work relative to other hosts.
    pub weight: Option<u32>,
    /// Why it takes no work by its own decision.
    pub blocked: Option<String>,
    /// About the machine.
    pub facts: Option<Facts>,
    /// How far its clock is ahead.
    pub clock_offset_ms: Option<i64>,
    /// It named its leases.
    pub names_leases: bool,
}

/// Versions never go back over a restart, because they begin at the time of the entry.
pub fn version_of(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0)
}

/// Notes that the host is heard of. Tells whether it was silent before.
pub fn hear(id: &HostId, host: &mut Host, now: Timestamp) -> bool {
    host.seen = Some(Instant::now());
    host.seen_at = now;
    (host.cut, host.gone) = (false, false);
    let back = host.state != HostState::Live;
    host.state = HostState::Live;
    if back {
        host.version += 1;
        tracing::debug!(host = %id, "a host is back");
    }
    back
}

/// Takes over what the host says of itself.
pub fn take(id: &HostId, host: &mut Host, news: News) {
    host.version += 1;
    host.blocked = news.blocked;
    host.names_leases |= news.names_leases;
    if news.facts.is_some() {
        host.facts = news.facts;
        host.facts_at = Some(Instant::now());
    }
    if let Some(weight) = news.weight {
        host.weight = weight.max(1);
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
