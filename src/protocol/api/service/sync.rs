//! What a host and its coordinator tell each other about the host's services, again and again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::logs::WantedLogs;
use super::record::{Phase, Restart, Speaks};

/// What a host says of one assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentReport {
    /// [`Assignment::id`](super::Assignment::id).
    pub assignment_id: String,
    /// How far it is; never [`Phase::Assigned`] or [`Phase::Lost`].
    pub phase: Phase,
    /// The port it was given, while it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Where it answers, if the host knows; else the coordinator takes the address it sees and the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The last lines it printed before it ended, at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_output: Option<String>,
    /// How often its process was started again in a row.
    #[serde(default)]
    pub restarts: u32,
}

/// `POST /v1/hosts/:id/services/sync`: a host says what it runs and hears what it should run. It is asked again and
/// again, and is the sign of life of the host's services.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncServices {
    /// Every assignment the host has anything of, also ended ones that it has not been told to forget.
    #[serde(default)]
    pub assignments: Vec<AssignmentReport>,
    /// [`SyncedServices::version`] of the last answer: the next one may wait until there is something newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<u64>,
    /// How long the answer may wait for news, in milliseconds; at most 30 000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// The host takes nothing new: it is about to end and drains what it has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// What is wanted of an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// It runs.
    Run,
    /// It ends, after open requests had their time.
    Drain,
}

/// One assignment as its host hears of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WantedAssignment {
    /// [`Assignment::id`](super::Assignment::id).
    pub assignment_id: String,
    /// What is wanted.
    pub want: Want,
    /// The service's id.
    pub service_id: String,
    /// The service's name.
    pub name: String,
    /// Which form of the service it is.
    pub generation: u64,
    /// The program.
    pub command: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// What is added to its environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What is added to its environment and shown to nobody.
    #[serde(default)]
    pub secret_env: BTreeMap<String, String>,
    /// The path that answers 2xx when it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// When its process is started again.
    #[serde(default)]
    pub restart: Restart,
    /// What it speaks on its port; HTTP/1.1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Speaks>,
    /// How long it may take to become ready, in milliseconds.
    pub ready_ms: u64,
    /// How long open requests may take when it is to end, in milliseconds.
    pub drain_ms: u64,
    /// Readers wait for its output: the host sends it to `POST /v1/hosts/:id/services/logs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<WantedLogs>,
}

/// The answer to [`SyncServices`]: all that this host should have. What is not in it is to end and to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncedServices {
    /// Every assignment of this host.
    pub assignments: Vec<WantedAssignment>,
    /// Output of assignments that failed here, which readers wait for: the host may have kept it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_logs: Vec<KeptLogs>,
    /// To be shown with the next request.
    pub version: u64,
}

/// Output of an assignment that is over: what there is of it, nothing that follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptLogs {
    /// [`Assignment::id`](super::Assignment::id).
    pub assignment_id: String,
    /// The service's name.
    pub name: String,
    /// What of it.
    pub logs: WantedLogs,
}
