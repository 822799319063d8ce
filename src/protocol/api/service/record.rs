//! A service as it is: what is wanted and where it runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::kept::Kept;
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

    /// Returns its word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Backoff => "backoff",
            Self::CrashLoop => "crash-loop",
            Self::Draining => "draining",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
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

/// What a service speaks on its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub enum Speaks {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "http/1.1")]
    Http1,
    /// HTTP/2 from the first byte, without TLS, as gRPC does.
    #[serde(rename = "h2c")]
    H2c,
}

impl Speaks {
    /// Returns the address as gateways need it: where HTTP/2 is to be spoken in the clear, they must be told.
    pub fn address(self, url: String) -> String {
        match (self, url.strip_prefix("http://")) {
            (Self::H2c, Some(rest)) => format!("h2c://{rest}"),
            _ => url,
        }
    }
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
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// What it speaks on its port; HTTP/1.1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Speaks>,
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
    /// What the latest update waits for: it goes on by itself once a host can take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_waits: Option<String>,
    /// It ends everywhere, and is forgotten then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removing: bool,
    /// What only coordinators need to know. Readers do not get it.
    #[serde(default, skip_serializing_if = "Kept::is_empty")]
    pub kept: Kept,
}

/// How long a service may take to become ready, in milliseconds, if it does not say.
pub const READY_MS: u64 = 30_000;
/// How long open requests may take when a service is to end, in milliseconds, if it does not say.
pub const DRAIN_MS: u64 = 30_000;

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
