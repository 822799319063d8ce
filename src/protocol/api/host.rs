//! Hosts: how they introduce themselves and how others see them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::claim::{LeaseName, LeaseState};
use crate::protocol::HostId;
use crate::support::clock::Timestamp;

/// Which process speaks for a host id, so that two machines with one id are told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// The daemon's state directory; only one process can own it, so a new process of the same
    /// directory follows one that is gone.
    pub state_id: String,
    /// This process.
    pub process_id: String,
}

/// What a host reports about the machine. Only read, never set by others.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// The daemon's version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Such as `linux`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os: String,
    /// Such as `x86_64`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub arch: String,
    /// How many processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Free space where jobs work, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// Load average over one minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// How long a question and its answer took to the host and back when last seen, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u32>,
    /// Names of GPUs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
    /// The local OpenClaw, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openclaw: Option<OpenclawProfile>,
}

/// The local OpenClaw in a host's own words. Never a secret: of a token only the start of its digest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenclawProfile {
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The name of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its agents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// The port of its gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_port: Option<u16>,
    /// How its gateway checks callers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_mode: Option<String>,
    /// The first 12 hexadecimal digits of the SHA-256 of its gateway token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_digest: Option<String>,
}

/// `POST /v1/hosts/register`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Register {
    /// What people call it. Required.
    #[serde(default)]
    pub name: String,
    /// Its id, if it has one; otherwise it gets a fresh one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_id: Option<HostId>,
    /// What it can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// How many jobs it runs at once; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u16>,
    /// Its share of the work relative to other hosts, at least 1, which is what nothing stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// What it is labelled with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Which process this is. Hosts of the original say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    /// The leases it still works on; all others of this host are lost at once. Without the field
    /// (the original) leases stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leases: Option<Vec<LeaseName>>,
    /// Why it takes no work by its own decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// About the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
    /// The host's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
}

/// Whether a host is given work, as people decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostMode {
    /// It is.
    #[default]
    Active,
    /// It finishes what it has and gets no more.
    Draining,
    /// It gets no more for now.
    Paused,
}

/// Whether a host was heard of lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// Within three heartbeats.
    Live,
    /// Not within three heartbeats: gets no work.
    Stale,
    /// Not for ten minutes, or not since the coordinator started.
    Down,
    /// Whoever says so does not know: a member of a cluster that was asked for what it has itself. Left out.
    #[default]
    Unknown,
}

impl HostState {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }

    /// Tells whether nothing is known.
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

/// A host as others see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostRecord {
    /// Its id.
    pub id: HostId,
    /// What people call it.
    pub name: String,
    /// What it can do: trimmed, unique, sorted.
    pub capabilities: Vec<String>,
    /// How many jobs it runs at once.
    pub max_parallel: u16,
    /// How many leases it holds, counted by the coordinator.
    pub active_leases: u32,
    /// When it was last heard of.
    pub last_seen_at: Timestamp,
    /// When it first registered.
    pub registered_at: Timestamp,
    /// Which coordinator last changed the record.
    pub updated_by: String,
    /// Raised with every change.
    pub version: u64,
    /// What it is labelled with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Whether it was heard of lately. Absent where that is not known: from a coordinator of the original, and with
    /// `consistency=local`, because hosts are heard of by the leader alone.
    #[serde(default, skip_serializing_if = "HostState::is_unknown")]
    pub state: HostState,
    /// Whether it is given work.
    #[serde(default)]
    pub mode: HostMode,
    /// Why it takes no work by its own decision, such as `hours 22-07`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// How far its clock is ahead of the coordinator's, in milliseconds. Shown, never used for leases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset_ms: Option<i64>,
    /// About the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
}

/// The answer to [`Register`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// The host as the coordinator knows it now.
    pub host: HostRecord,
    /// How long leases last without renewal, in milliseconds. Absent from the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    /// Where the named leases stand, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<LeaseState>,
    /// What this coordinator can do beyond the original: `wait`, `batch`, `logs`, `exchange`. A host that does not
    /// find a word here uses the original's way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The coordinator's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
}

/// `POST /v1/hosts/:id/heartbeat`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// The original's own count. Accepted, not trusted; 1 or more renews what the host holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_leases: Option<f64>,
    /// All leases that the host works on; they are renewed. Leases the coordinator gave it some time ago
    /// and that are not named were never received, and go back to the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leases: Option<Vec<LeaseName>>,
    /// Which process this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    /// Why it takes no work by its own decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// About the machine; sent once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
    /// The host's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
}

/// The answer to [`Heartbeat`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatReply {
    /// The host as the coordinator knows it now.
    pub host: HostRecord,
    /// Where the named leases stand, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<LeaseState>,
    /// The coordinator's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
}

/// An answer with one host: `GET /v1/hosts/:id`, and `POST /v1/hosts/:id/{drain,undrain,pause,resume}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostReply {
    /// The host.
    pub host: HostRecord,
}

/// `GET /v1/hosts`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Hosts {
    /// By name.
    pub hosts: Vec<HostRecord>,
}
