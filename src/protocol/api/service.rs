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

/// One host's part of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
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
}

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
