//! What happens, for whoever listens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::protocol::{AttemptNo, GroupId, HostId, JobId, JobStatus, Reason};
use crate::support::clock::Timestamp;

/// One entry of `GET /v1/events`. Its id stands beside it in the stream: `last-event-id` resumes after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Event {
    /// A job may be claimed: new, delayed until now, or back from a lost host.
    JobReady {
        /// When.
        at: Timestamp,
        /// Which.
        job_id: JobId,
        /// Its group.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<GroupId>,
    },
    /// A host got a lease on a job.
    JobLeased {
        /// When.
        at: Timestamp,
        /// Which.
        job_id: JobId,
        /// Which try.
        attempt: AttemptNo,
        /// Who.
        host_id: HostId,
    },
    /// A running job is to end.
    JobCancelAsked {
        /// When.
        at: Timestamp,
        /// Which.
        job_id: JobId,
        /// Which try.
        attempt: AttemptNo,
    },
    /// A job reached its last status.
    JobEnded {
        /// When.
        at: Timestamp,
        /// Which.
        job_id: JobId,
        /// Its group.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<GroupId>,
        /// Well or badly.
        status: JobStatus,
        /// Why badly.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// A host registered, for the first time or again.
    HostRegistered {
        /// When.
        at: Timestamp,
        /// Which.
        host_id: HostId,
    },
    /// A host's state or mode changed.
    HostChanged {
        /// When.
        at: Timestamp,
        /// Which.
        host_id: HostId,
        /// How it is now, in a word: `live`, `stale`, `down`, `active`, `draining`, `paused`, `gone`.
        state: String,
    },
    /// A service, or where it runs, changed: read it again.
    ServiceChanged {
        /// When.
        at: Timestamp,
        /// Which.
        service_id: String,
        /// What people call it.
        name: String,
    },
    /// Entries between the id asked for and the next one are not remembered: read the state again.
    Gap {
        /// When.
        at: Timestamp,
    },
}
