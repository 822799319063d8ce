//! Records of the original, as they are taken over: out of a file of its, or as a command out of a state it sent.
//!
//! Whatever else a record holds is left out. One that is no record at all is not taken over.

use serde::{Deserialize, Deserializer, Serialize};

use crate::protocol::api::ServiceRecord;
use crate::protocol::{HostId, JobId, JobResult, Payload, Reason, Requirement};
use crate::support::clock::Timestamp;

/// What is taken over in one step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Original {
    /// Jobs, the oldest first.
    pub jobs: Vec<OriginalJob>,
    /// Hosts.
    pub hosts: Vec<OriginalHost>,
    /// Services.
    pub services: Vec<ServiceRecord>,
}

/// How many records were taken over.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOver {
    /// Jobs.
    pub jobs: u64,
    /// Hosts.
    pub hosts: u64,
    /// Services.
    pub services: u64,
    /// Records that could not be read, or whose id was there already.
    pub skipped: u64,
}

impl TakenOver {
    /// Adds what another step took over.
    pub const fn add(&mut self, other: Self) {
        self.jobs += other.jobs;
        self.hosts += other.hosts;
        self.services += other.services;
        self.skipped += other.skipped;
    }
}

/// A job of the original.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OriginalJob {
    /// Its id.
    pub id: JobId,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// How it stands.
    pub status: OriginalStatus,
    /// How often it was tried.
    #[serde(default)]
    pub attempts: u64,
    /// Who may run it.
    #[serde(default)]
    pub requirement: Requirement,
    /// What to run.
    pub payload: Payload,
    /// Who runs it, or ran it last.
    #[serde(default)]
    pub assigned_host_id: Option<String>,
    /// Who asked for it.
    #[serde(default)]
    pub submitted_by: Option<String>,
    /// What came of it.
    #[serde(default)]
    pub result: Option<JobResult>,
    /// What went wrong.
    #[serde(default)]
    pub error: Option<String>,
}

/// How a job of the original stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OriginalStatus {
    /// It waits.
    Queued,
    /// It runs.
    Leased,
    /// It ended well.
    Completed,
    /// It ended badly.
    Failed,
}

impl OriginalJob {
    /// Tells whether it has ended.
    pub const fn has_ended(&self) -> bool {
        matches!(
            self.status,
            OriginalStatus::Completed | OriginalStatus::Failed
        )
    }

    /// Returns who made its last try.
    pub fn host(&self) -> Option<HostId> {
        HostId::new(self.assigned_host_id.clone()?).ok()
    }

    /// Returns why it failed. The original has no reasons, only these texts.
    pub fn reason(&self) -> Reason {
        let error = self.error.as_deref().unwrap_or_default();
        if error.starts_with("timed out after") {
            Reason::Timeout
        } else if error.starts_with("command not allowed") {
            Reason::NotAllowed
        } else if error.starts_with("spawn ") {
            Reason::Spawn
        } else {
            Reason::Exit
        }
    }

    /// Returns what came of it, if it has ended.
    pub fn final_result(&self) -> Option<JobResult> {
        let mut result = self.result.clone().filter(|_| self.has_ended())?;
        result.error = result.error.or_else(|| self.error.clone());
        if result.finished_at == Timestamp::default() {
            result.finished_at = self.updated_at;
        }
        Some(result)
    }
}

/// A host of the original.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OriginalHost {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// How many jobs it runs at once.
    #[serde(default = "one", deserialize_with = "slots")]
    pub max_parallel: u16,
    /// When it first registered.
    pub registered_at: Timestamp,
    /// When it was last heard of.
    #[serde(default)]
    pub last_seen_at: Option<Timestamp>,
}

const fn one() -> u16 {
    1
}

/// The original has numbers of any kind there.
fn slots<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let number = f64::deserialize(deserializer)?;
    Ok(number.clamp(1.0, f64::from(u16::MAX)) as u16)
}
