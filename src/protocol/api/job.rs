//! Looking at jobs, taking them back, running them again.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::host::HostRecord;
use crate::protocol::{AttemptRecord, GroupCounts, HostId, JobId, JobRecord, JobResult};

/// A job with the two fields that peers of the original expect. Only written; readers take [`JobRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobWire {
    /// The job.
    #[serde(flatten)]
    pub job: JobRecord,
    /// Which coordinator last changed it.
    pub updated_by: String,
    /// Raised with every change.
    pub version: u64,
}

/// An answer with one job. Written with [`JobWire`], read with [`JobRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobReply<T = JobRecord> {
    /// The job.
    pub job: T,
}

/// `GET /v1/jobs?status=&group=&host=&submittedBy=&kind=&reason=&cursor=&limit=`: newest first, those of a
/// group in queue order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobPage<T = JobRecord> {
    /// At most `limit`, 100 if not given, 500 at most.
    pub jobs: Vec<T>,
    /// For `cursor`, to go on; absent after the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `GET /v1/jobs/:id/attempts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobAttempts {
    /// Oldest first.
    pub attempts: Vec<AttemptRecord>,
    /// Reports of holders that had lost their lease. They changed nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strays: Vec<JobResult>,
}

/// `POST /v1/jobs/cancel`, and with no ids `POST /v1/jobs/:id/cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct CancelJobs {
    /// Which jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<JobId>,
    /// All jobs of a group that have not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<crate::protocol::GroupId>,
    /// How long running jobs get between TERM and KILL, in milliseconds; absent leaves that to their hosts.
    #[serde(default, rename = "graceMs", skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
    /// What to tell whoever looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answer to [`CancelJobs`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelledJobs {
    /// Waiting jobs that ended at once.
    pub ended: Vec<JobId>,
    /// Running jobs whose hosts are told.
    pub asked: Vec<JobId>,
    /// Jobs that had ended before.
    pub already_ended: Vec<JobId>,
    /// Ids that no job has.
    pub unknown: Vec<JobId>,
}

/// `POST /v1/jobs/retry`: ended jobs are asked for again, as new jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct RetryJobs {
    /// Which jobs.
    pub ids: Vec<JobId>,
}

/// The answer to [`RetryJobs`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retried {
    /// The old job and the new one.
    pub retried: Vec<(JobId, JobId)>,
    /// Jobs that have not ended.
    pub not_ended: Vec<JobId>,
    /// Ids that no job has.
    pub unknown: Vec<JobId>,
}

/// What one host means for a waiting job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostVerdict {
    /// Which host.
    pub host_id: HostId,
    /// What people call it.
    pub name: String,
    /// Whether it could take the job now.
    pub can_run: bool,
    /// The first reason why not, or what it waits for.
    pub why: String,
}

/// `GET /v1/jobs/:id/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// The job.
    pub job_id: JobId,
    /// One sentence: why it stands where it stands.
    pub summary: String,
    /// Each known host; empty if the job has ended.
    pub hosts: Vec<HostVerdict>,
}

/// `GET /v1/queue`, and the answer to `POST /v1/queue/{pause,resume}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueState {
    /// Nothing is given out.
    pub paused: bool,
    /// How many jobs have which status.
    pub counts: GroupCounts,
}

/// `GET /health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Always true.
    pub ok: bool,
    /// Which coordinator answers.
    pub node_id: String,
}

/// How far the state of a coordinator goes that is in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Everything up to this entry of the log is in the answer, and perhaps more.
    pub applied_index: u64,
    /// The term of the leader.
    pub term: u64,
    /// The node id of the leader, if one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
}

/// `GET /v1/state`: everything, for clients of the original. Written piece by piece.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Which coordinator answers.
    pub node_id: String,
    /// How far it goes; a coordinator that is in no cluster leaves all of this out.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// Every host.
    pub hosts: Vec<HostRecord>,
    /// Every job, oldest first.
    pub jobs: Vec<JobWire>,
    /// Every service, oldest first.
    pub services: Vec<super::ServiceRecord>,
}
