//! Asking for jobs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::protocol::{GroupId, JobId, Payload, Requirement};
use crate::support::clock::Timestamp;

/// `POST /v1/jobs`, and one of many in `POST /v1/jobs/batch`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubmitJob {
    /// Its id, if the caller makes ids; no other job may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<JobId>,
    /// What to run; see the job kinds. Required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<super::JobKind>)]
    pub payload: Option<Payload>,
    /// Who may run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirement: Option<Requirement>,
    /// Who asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_by: Option<String>,
    /// Higher runs first, −100 to 100; 0 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i8>,
    /// How many lost leases end it; 3 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u16>,
    /// How often it runs again after it failed by itself; 0 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u16>,
    /// When a try must have begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_by: Option<Timestamp>,
    /// When the first try may begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The same as a wait from now, in milliseconds, for callers whose clock is not the coordinator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// The group it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
}

/// A group to be made for the jobs of one batch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupRequest {
    /// Its id, if the caller makes ids; no other group may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<GroupId>,
    /// The group it repeats or continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<GroupId>,
    /// Whatever its maker wants to find again: an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Payload>,
    /// What makes it, such as `array`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// So many failures cancel the rest of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fails: Option<u32>,
}

/// `POST /v1/jobs/batch`: all or none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubmitMany {
    /// The jobs, in the order in which they are to run; 1 to 10 000.
    pub jobs: Vec<SubmitJob>,
    /// A new group for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupRequest>,
}

/// The answer to [`SubmitMany`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubmittedMany {
    /// Their ids, in the order given.
    pub ids: Vec<JobId>,
    /// The group made for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
}
