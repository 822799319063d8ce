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

impl Event {
    /// Every kind, as `type` says it.
    pub const KINDS: [&'static str; 8] = [
        "job-ready",
        "job-leased",
        "job-cancel-asked",
        "job-ended",
        "host-registered",
        "host-changed",
        "service-changed",
        "gap",
    ];

    /// Returns what `type` says.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::JobReady { .. } => "job-ready",
            Self::JobLeased { .. } => "job-leased",
            Self::JobCancelAsked { .. } => "job-cancel-asked",
            Self::JobEnded { .. } => "job-ended",
            Self::HostRegistered { .. } => "host-registered",
            Self::HostChanged { .. } => "host-changed",
            Self::ServiceChanged { .. } => "service-changed",
            Self::Gap { .. } => "gap",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_what_is_written() {
        let at = Timestamp::from_millis(0);
        let host_id = HostId::new("a").unwrap();
        let events = [
            Event::HostRegistered { at, host_id },
            Event::ServiceChanged {
                at,
                service_id: "s".to_owned(),
                name: "n".to_owned(),
            },
            Event::Gap { at },
        ];
        for event in events {
            let written = serde_json::to_value(&event).unwrap();
            assert_eq!(written["type"], event.kind());
            assert!(Event::KINDS.contains(&event.kind()));
        }
    }
}
