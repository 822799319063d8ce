//! The life of a service as plain values and functions. No clock, no chance, no store.
//!
//! One assignment is one host's part of a service:
//!
//! ```text
//!            place                 sync                 sync
//!  (nothing) ─────► Assigned ───────────────► Starting ──────► Ready ◄──┐
//!                      │                         │  ▲            │      │ sync
//!                      │                         │  └─ Backoff ◄─┤ ─────┤
//!                      │                         │       │       │      │
//!                      │                         │       └► CrashLoop ──┘
//!                      │                         │               │
//!                      ├── place (update, scale, stop, move, ────┴──► Draining ── sync ──► (gone)
//!                      │   its host is leaving), or sync (its host drains it by itself)
//!                      ├── sync ──► Failed, Stopped (ended by itself): never run again
//!                      ├── place (its host lives, but says for too long that it begins) ──► Failed
//!                      └── place (its host is dead, or is another one now) ──► Lost
//! ```
//!
//! Not stored, but real: "assigned, and the host was never told" is `Assigned` and becomes `Lost` or `Draining` as
//! any other; "the host forgot it" (its daemon was started again) is seen in a sync that does not name it, and is
//! `Assigned` again; "lost, but it runs" is a host that was cut off: it is told that nothing of it is wanted.
//!
//! Assignments without a phase are those of the original's hosts. They are taken by a claim and told of by reports;
//! such a host cannot be told to end one, so it is only forgotten where another one would drain.

mod change;
mod choose;
mod deploy;
mod form;
mod leave;
mod life;
mod lost;
mod old_host;
mod place;
mod roll;
mod spread;
mod stuck;
mod sync;
mod wanted;

use serde::{Deserialize, Serialize};

use crate::protocol::HostId;
use crate::protocol::api::ServiceRecord;

pub use change::change;
pub use deploy::{deploy, replaced_by};
pub use life::is_gone;
pub use old_host::{Claimed, claim, for_old_host, report};
pub use place::place;
pub use sync::sync;
pub use wanted::wanted;

/// A host as it is when services are placed. One that is not named counts as dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceHost {
    /// Which.
    pub id: HostId,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// It was heard of lately. What a dead host has is lost.
    pub alive: bool,
    /// It may be given something new. What it has stays.
    pub takes_new: bool,
    /// It speaks of its services by syncing. Hosts of the original do not, and take what they run themselves.
    pub syncs: bool,
    /// It is about to end what it has: that is to run elsewhere first, if it can.
    #[serde(default)]
    pub leaving: bool,
    /// It could be heard for so long that what it did not say until now it will not say.
    #[serde(default)]
    pub heard_out: bool,
}

/// Returns a service as readers may see it: secrets are `***`, and what only coordinators need is left out.
pub fn masked(service: ServiceRecord) -> ServiceRecord {
    service.masked()
}

#[cfg(test)]
mod place_tests;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tests;
