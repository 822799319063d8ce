//! What a coordinator is told when it starts. Plain values; where they come from is the caller's business.

use std::sync::Arc;
use std::time::Duration;

use crate::queue::sweeper::Retention;

use super::auth::Tokens;
use super::keys::Keys;
use super::notify::Hooks;
use super::services::reach::Reach;

/// How a coordinator behaves.
#[derive(Debug)]
pub struct Settings {
    /// Its id, in answers and in records.
    pub node_id: String,
    /// Where others reach it.
    pub public_url: Option<String>,
    /// What callers must show; empty lets everybody in.
    pub tokens: Tokens,
    /// Who may use the public API; none switches it off.
    pub keys: Keys,
    /// What `access-control-allow-origin` says on the public API; nothing sends no such header.
    pub cors_origin: Option<String>,
    /// How long a lease lasts without renewal.
    pub lease_for: Duration,
    /// How long answers are remembered by idempotency key.
    pub idempotency_ttl: Duration,
    /// How many coordinators must have a write before it is answered. This one is alone, so more than
    /// 1 refuses all writes.
    pub min_replications: u64,
    /// How many jobs may wait before new ones are refused.
    pub max_queued: u64,
    /// What is forgotten when.
    pub retention: Retention,
    /// Whom to tell when a job ended.
    pub hooks: Hooks,
    /// How long a host may be silent before its services run elsewhere.
    pub service_silence: Duration,
    /// What leads to services on hosts behind tunnels; without it they cannot be reached from here.
    pub reach: Option<Arc<dyn Reach>>,
}

impl Settings {
    /// Returns the defaults for a coordinator called `node_id`: no token, no public API.
    pub fn new(node_id: impl Into<String>) -> Self {
        Self {
            node_id: node_id.into(),
            public_url: None,
            tokens: Tokens::default(),
            keys: Keys::default(),
            cors_origin: None,
            lease_for: Duration::from_secs(60),
            idempotency_ttl: Duration::from_secs(24 * 3600),
            min_replications: 1,
            max_queued: 100_000,
            retention: Retention {
                // Groups of a coordinator are arrays of jobs, not runs that a person looks up by age.
                keep_groups: None,
                ..Retention::default()
            },
            hooks: Hooks::default(),
            // Found, decided and begun elsewhere within 30 s of the death.
            service_silence: Duration::from_secs(25),
            reach: None,
        }
    }
}
