//! Changes that concern hosts, and what the queue knows of a host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::LeaseRef;
use crate::protocol::api::HostMode;
use crate::protocol::{AttemptNo, HostId, JobId, LeaseToken, Payload};
use crate::support::clock::Timestamp;

/// A host that introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewHost {
    /// Its id.
    pub id: HostId,
    /// What people call it.
    pub name: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// What it is labelled with.
    pub labels: BTreeMap<String, String>,
    /// How many jobs it runs at once.
    pub max_parallel: u16,
    /// The state directory it runs from, if it says so.
    pub state_id: Option<String>,
    /// What it says about its machine; kept as text.
    pub facts: Option<Payload>,
}

/// A host as the queue remembers it. When it was last heard of is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// What it said of itself.
    pub host: NewHost,
    /// Whether it is given work.
    pub mode: HostMode,
    /// When it first registered.
    pub registered_at: Timestamp,
    /// When the entry last changed.
    pub updated_at: Timestamp,
}

/// A lease as somebody who watches over its host sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLease {
    /// Which job.
    pub job: JobId,
    /// Which try.
    pub attempt: AttemptNo,
    /// What its holder shows.
    pub token: LeaseToken,
    /// When it was given.
    pub since: Timestamp,
    /// When it runs out.
    pub expires_at: Timestamp,
    /// Whether it is to end, and what was said about it.
    pub cancel: Option<Option<String>>,
    /// How long it may tidy up then; nothing leaves that to its host.
    pub grace: Option<std::time::Duration>,
}

impl HeldLease {
    /// Returns what its holder shows with every message.
    pub const fn lease(&self) -> LeaseRef {
        LeaseRef::new(self.job, self.attempt, self.token)
    }
}
