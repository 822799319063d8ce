//! What came of a command.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{HostEntry, LeaseRef, TakenOver};
use crate::protocol::api::ServiceRecord;
use crate::protocol::{
    AttemptNo, GroupId, HostId, JobId, JobStatus, LeaseToken, Payload, Reason, Requirement,
};
use crate::support::clock::Timestamp;

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Of a submit.
    Submitted(Vec<JobId>),
    /// Of a claim.
    Claimed(Vec<Claimed>),
    /// Of a renewal, in the order asked.
    Renewed(Vec<Renewed>),
    /// Of a completion.
    Completed(Completion),
    /// Of many completions, in the order told.
    CompletedMany(Vec<Completion>),
    /// Of a release, in the order asked.
    Released(Vec<Completion>),
    /// Of a cancel.
    Cancelled(Cancelled),
    /// Of time passing.
    Expired(Expired),
    /// Of a reprieve: how many leases got more time.
    Reprieved(u64),
    /// Of a registration, or a change of a host; nothing if there is no such host.
    Host(Option<Box<HostEntry>>),
    /// Of a host that left: whether it was known.
    Forgotten(bool),
    /// Of a readmission: whether the job avoided anybody.
    Readmitted(bool),
    /// Of a pause or its end.
    Paused(bool),
    /// Of output, in the order sent: whether each piece was from the holder.
    Logged(Vec<bool>),
    /// Of a retry.
    Retried(Retried),
    /// Of a service asked for or taken; nothing if there is none for the host.
    Service(Option<Box<ServiceRecord>>),
    /// Of a change of a service.
    ServiceChanged(ServiceChanged),
    /// Of a host's word on its assignments, or of placing: the services that changed.
    Services(Vec<ServiceRecord>),
    /// Of a report on a service.
    ServiceReported(ServiceReported),
    /// Of a state of the original; nothing if the queue was not empty.
    TakenOver(Option<TakenOver>),
    /// Of a pruning.
    Pruned(Pruned),
    /// Nothing was done.
    Refused(Refusal),
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no such group.
    NoSuchGroup(GroupId),
    /// The idempotency key was used for something else.
    KeyConflict(String),
    /// A job or group has this id already.
    IdInUse(String),
}

/// Accepted jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// Their ids, in the order given. On a replay those of the first time.
    pub jobs: Vec<JobId>,
    /// Whether the answer was remembered from an earlier submit with the same key.
    pub replayed: bool,
}

/// A job given to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// Which job.
    pub job: JobId,
    /// Who got it.
    pub host: HostId,
    /// Which try this is.
    pub attempt: AttemptNo,
    /// What to show with every message about it.
    pub token: LeaseToken,
    /// When the lease runs out unless renewed, by the queue's clock.
    pub expires_at: Timestamp,
    /// What to run.
    pub payload: Payload,
    /// Who may run it.
    pub requirement: Requirement,
    /// The group it belongs to.
    pub group: Option<GroupId>,
    /// How long it may run.
    pub timeout_ms: Option<u64>,
    /// How long the lease lasts without renewal.
    pub lease_for: Duration,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// Who asked for it.
    pub submitted_by: Option<String>,
    /// Higher runs first.
    pub priority: i8,
    /// One loss more and it has failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last_try: bool,
}

impl Claimed {
    /// Returns what a holder shows with every message about this attempt.
    pub const fn lease(&self) -> LeaseRef {
        LeaseRef::new(self.job, self.attempt, self.token)
    }
}

/// The answer to a renewal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Renewed {
    /// Go on.
    Until(Timestamp),
    /// End it, and report or release it before the lease runs out.
    Cancel {
        /// When the queue ends it anyway.
        until: Timestamp,
        /// What the person said about it.
        reason: Option<String>,
        /// How long the job may tidy up; nothing leaves that to its host.
        grace: Option<Duration>,
    },
    /// Somebody else has it, or nobody; stop.
    LeaseLost,
}

/// Where a job stands after its attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Completion {
    /// It never changes again.
    Ended {
        /// Well or badly.
        status: JobStatus,
        /// Why badly.
        reason: Option<Reason>,
    },
    /// It will run again.
    Requeued {
        /// Not earlier than this.
        not_before: Option<Timestamp>,
    },
    /// The sender does not hold it; its result was put aside and changes nothing.
    LeaseLost,
}

/// What a cancel did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cancelled {
    /// Waiting jobs that ended at once.
    pub ended: Vec<JobId>,
    /// Running jobs whose holders are told.
    pub asked: Vec<JobId>,
    /// Jobs that had ended before.
    pub already_ended: Vec<JobId>,
    /// Ids that no job has.
    pub unknown: Vec<JobId>,
    /// The step was full: there are more jobs to cancel in this group.
    pub more: bool,
}

/// What became of what a person asked of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceChanged {
    /// The service as it is now wanted. A removed one is still there until its last assignment is over.
    Changed(Box<ServiceRecord>),
    /// There is no such service.
    Unknown,
}

/// What became of a host's word about a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceReported {
    /// It was noted.
    Noted(Box<ServiceRecord>),
    /// The host does not have the service.
    NotAssigned,
    /// There is no such service.
    Unknown,
}

/// What a retry did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Retried {
    /// The old job and the new one.
    pub retried: Vec<(JobId, JobId)>,
    /// Jobs that have not ended.
    pub not_ended: Vec<JobId>,
    /// Ids that no job has.
    pub unknown: Vec<JobId>,
}

/// What time did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Expired {
    /// Lost leases whose jobs wait again.
    pub requeued: u64,
    /// Delayed jobs that may start now.
    pub ready: u64,
    /// Jobs that ended.
    pub ended: u64,
    /// When something is due next, if anything is.
    pub next_due: Option<Timestamp>,
}

/// What pruning removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pruned {
    /// How many jobs.
    pub jobs: u64,
    /// Which groups, so that their directories can go too.
    pub groups: Vec<GroupId>,
    /// How many idempotency keys.
    pub keys: u64,
    /// The step was full: call again.
    pub more: bool,
}
