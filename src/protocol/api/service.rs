//! Processes that should always run somewhere, in the original's shapes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::protocol::HostId;
use crate::support::clock::Timestamp;

/// Whether a service, or one host's part of it, runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceStatus {
    /// Not yet.
    #[default]
    Pending,
    /// It does.
    Running,
    /// It does not, and nobody tries.
    Failed,
}

/// How far one host is with its part of a service. Hosts of the original know only [`ServiceStatus`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The host has not taken note yet.
    #[default]
    Assigned,
    /// Its process runs and does not answer yet.
    Starting,
    /// It answers. The only phase in which gateways send requests.
    Ready,
    /// Its process has ended; the host starts it again after a pause.
    Backoff,
    /// Its process ended too often in a short time; the host tries once a minute.
    CrashLoop,
    /// It is to end: gateways send nothing new, open requests may finish.
    Draining,
    /// It does not run and will not be tried again here.
    Failed,
    /// It ended by itself and is not to be started again, or the host has ended it as asked.
    Stopped,
    /// Its host was not heard of for too long.
    Lost,
}

impl Phase {
    /// Returns what the original calls it.
    pub const fn status(self) -> ServiceStatus {
        match self {
            Self::Ready => ServiceStatus::Running,
            Self::Assigned | Self::Starting | Self::Backoff | Self::Draining => {
                ServiceStatus::Pending
            }
            Self::CrashLoop | Self::Failed | Self::Stopped | Self::Lost => ServiceStatus::Failed,
        }
    }

    /// Tells whether nothing of it runs or will run by itself.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Failed | Self::Stopped | Self::Lost)
    }
}

/// When a host starts a service's process again after it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// However it ended.
    #[default]
    Always,
    /// Unless it exited with 0.
    OnFailure,
    /// Not at all.
    Never,
}

/// One host's part of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// Its own name, as `asg_` and a UUID: one host may have an old and a new one during an update. Empty from a
    /// database of the original.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Which form of the service it runs: [`ServiceRecord::generation`] when it was made.
    #[serde(default)]
    pub generation: u64,
    /// How far it is. Absent from hosts of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// How often its process was started again in a row.
    #[serde(default)]
    pub restarts: u32,
    /// The last lines it printed before it ended, at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_output: Option<String>,
    /// Which host.
    pub host_id: HostId,
    /// Whether it runs there.
    pub status: ServiceStatus,
    /// When this last changed.
    pub updated_at: Timestamp,
    /// Where it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it first ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
}

/// A service and where it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRecord {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The program.
    pub command: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// What is added to its environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    /// On how many hosts it should run; at least 1.
    pub replicas: u32,
    /// What those hosts must be able to do.
    pub required_capabilities: Vec<String>,
    /// Running if any assignment runs, else pending if any is pending, else failed.
    pub status: ServiceStatus,
    /// When it was first asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Which coordinator changed it last.
    pub updated_by: String,
    /// Raised with every change.
    pub version: u64,
    /// Which hosts have it.
    #[serde(default)]
    pub assignments: Vec<Assignment>,
    /// Which form of it is wanted: raised when what runs must change. Hosts of the original ignore it.
    #[serde(default)]
    pub generation: u64,
    /// Variables that only its hosts may see. Readers see `***`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<BTreeMap<String, String>>,
    /// The path that answers 2xx when it is ready and well; without it an accepted connection is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// When its process is started again.
    #[serde(default)]
    pub restart: Restart,
    /// How long it may take to become ready, in milliseconds; [`READY_MS`] if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<u64>,
    /// How long open requests may take when it is to end, in milliseconds; [`DRAIN_MS`] if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_ms: Option<u64>,
    /// A person stopped it: it is kept and runs nowhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Why the latest update went no further; the form before it stays up then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_error: Option<String>,
}

/// How long a service may take to become ready, in milliseconds, if it does not say.
pub const READY_MS: u64 = 30_000;
/// How long open requests may take when a service is to end, in milliseconds, if it does not say.
pub const DRAIN_MS: u64 = 30_000;
/// What readers see in place of a secret.
pub const HIDDEN: &str = "***";

/// `POST /v1/services`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeployService {
    /// What people call it. Required.
    #[serde(default)]
    pub name: String,
    /// The program. Required.
    #[serde(default)]
    pub command: String,
    /// Its id if it is to be replaced; otherwise it gets a fresh one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_id: Option<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// What is added to its environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    /// On how many hosts it should run; 1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// What those hosts must be able to do; `service-host` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_capabilities: Option<Vec<String>>,
    /// Without `serviceId`: the service of that name is updated if there is one. The original has no such field and
    /// makes a second record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_name: bool,
    /// Variables that only its hosts may see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<BTreeMap<String, String>>,
    /// The path that answers 2xx when it is ready and well, beginning with `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// When its process is started again; always if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// How long it may take to become ready, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<u64>,
    /// How long open requests may take when it is to end, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_ms: Option<u64>,
}

/// `POST /v1/services/:id/change`: what a person asks of a service that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum ChangeService {
    /// It runs nowhere, but is kept.
    Stop,
    /// It runs again.
    Start,
    /// Its processes are replaced one after the other, as by an update.
    Restart,
    /// It runs on that many hosts.
    Scale {
        /// At least 1.
        replicas: u32,
    },
    /// It ends everywhere and is forgotten.
    Remove,
}

/// What a host says of one assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentReport {
    /// [`Assignment::id`].
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WantedAssignment {
    /// [`Assignment::id`].
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
    /// To be shown with the next request.
    pub version: u64,
}

/// Output that readers wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WantedLogs {
    /// Which request this is; a greater one begins anew.
    pub request: u64,
    /// How many of the latest lines to begin with.
    pub tail: u32,
    /// Whether what comes later is wanted as well, for as long as this stands in the answers.
    pub follow: bool,
}

/// `POST /v1/hosts/:id/services/logs`: output of one assignment, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceOutput {
    /// Whose.
    pub assignment_id: String,
    /// Which request of [`WantedLogs`] it answers.
    pub request: u64,
    /// The bytes, base64.
    pub data: String,
    /// Nothing more follows.
    #[serde(default)]
    pub end: bool,
}

/// One piece of `GET /v1/services/:id/logs`, a stream of server-sent events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLogPiece {
    /// Whose.
    pub assignment_id: String,
    /// On which host.
    pub host_id: HostId,
    /// The bytes, base64. Absent at the end of this assignment's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Why there is nothing more, if not because it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A gateway, as it tells coordinators (`POST /v1/gateways`) and as they tell others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// Chosen by it at its start.
    pub id: String,
    /// Where clients reach it.
    pub url: String,
    /// What its operator calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `GET /v1/gateways`: those heard of within the last minute, by URL.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Gateways {
    /// Every one.
    pub gateways: Vec<Gateway>,
}

/// `POST /v1/services/:id/report`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportService {
    /// Which host.
    pub host_id: HostId,
    /// Whether it runs there.
    pub status: ServiceStatus,
    /// Where it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An answer with one service. Of `POST /v1/hosts/:id/services/claim` it may be null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceReply<T = ServiceRecord> {
    /// The service.
    pub service: T,
}

/// `GET /v1/services`: oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Services {
    /// Every service.
    pub services: Vec<ServiceRecord>,
}
