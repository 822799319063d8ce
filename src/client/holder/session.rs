//! What a host and its coordinator have agreed on.

use std::time::Duration;

use crate::protocol::HostId;
use crate::protocol::api::Registered;

/// What the coordinator and this host have agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The id the coordinator knows this host by.
    pub host: HostId,
    /// How long leases last without renewal, if it says.
    pub lease_for: Option<Duration>,
    /// It lets a claim wait for work, and takes `max`.
    pub wait: bool,
    /// It takes several results at once, and leases with tokens.
    pub batch: bool,
    /// It takes what jobs print while they run.
    pub logs: bool,
    /// It gives new work in the answer to results.
    pub exchange: bool,
    /// And more of it than can begin at once, if that is asked for.
    pub ahead: bool,
}

/// How long a claim waits for work.
const WAIT: Duration = Duration::from_secs(30);

impl Session {
    /// Returns how long a claim may wait: a lease counts from when the claim was sent, so not for most of one.
    pub fn patience(&self) -> Duration {
        self.lease_for.map_or(WAIT, |lease| WAIT.min(lease / 2))
    }

    /// Returns how often leases must be renewed at least, if they run out.
    pub fn renewal(&self) -> Option<Duration> {
        self.lease_for.map(|lease| lease / 4)
    }

    /// Returns how long the answer to a heartbeat may take: one that comes after the lease is over helps
    /// nobody, and the next one might.
    pub fn heartbeat_patience(&self) -> Duration {
        const MOST: Duration = Duration::from_secs(15);
        self.lease_for
            .map_or(MOST, |lease| lease / 3)
            .clamp(Duration::from_millis(500), MOST)
    }
}

impl From<Registered> for Session {
    fn from(reply: Registered) -> Self {
        let has = |word: &str| reply.features.iter().any(|feature| feature == word);
        Self {
            wait: has("wait"),
            batch: has("batch"),
            logs: has("logs"),
            exchange: has("exchange"),
            ahead: has("ahead"),
            lease_for: reply.lease_ms.map(Duration::from_millis),
            host: reply.host.id,
        }
    }
}
