//! What people ask of services.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::record::{Restart, Speaks};

/// `POST /v1/services`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
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
    /// On how many hosts it should run. If not given: 1, or with `byName` as many as before.
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
    /// What it speaks on its port; HTTP/1.1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Speaks>,
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
