//! What coordinators remember of a service to place it well. It is in their databases; readers never get it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::record::{Restart, Speaks};
use crate::protocol::HostId;
use crate::support::clock::Timestamp;

/// What coordinators remember of a service beside what is wanted and where it runs.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Kept {
    /// The latest generation that was up with no older one beside it: what stays up when an update goes wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled: Option<u64>,
    /// Older forms that still run somewhere, or are [`Kept::settled`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forms: Vec<Form>,
    /// Where which generation failed lately, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<FailedOn>,
}

impl Kept {
    /// Tells whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

// Forms hold secrets.
impl std::fmt::Debug for Kept {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Kept")
            .field("settled", &self.settled)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

/// What one generation of a service runs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Form {
    /// Which generation.
    pub generation: u64,
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// What is added to its environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    /// Variables that only its hosts may see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<BTreeMap<String, String>>,
    /// The path that answers 2xx when it is ready and well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// When its process is started again.
    #[serde(default)]
    pub restart: Restart,
    /// What it speaks on its port; HTTP/1.1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Speaks>,
    /// How long it may take to become ready, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<u64>,
    /// What its hosts must be able to do.
    #[serde(default)]
    pub required_capabilities: Vec<String>,
}

// It holds secrets.
impl std::fmt::Debug for Form {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Form")
            .field("generation", &self.generation)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

/// That a generation failed on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedOn {
    /// Where.
    pub host_id: HostId,
    /// Which generation.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
}
