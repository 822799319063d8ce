//! From the queue's words to those of the wire.

use crate::protocol::api::{CompleteResult, JobWire, LeaseName, LeasedJob, Outcome};
use crate::protocol::{HostId, JobId, JobRecord, JobStatus};
use crate::queue::{Claimed, Completion, LeaseRef};

use super::error::Refused;
use crate::protocol::api::Code;

/// Returns `job` with what peers of the original expect beside it.
pub fn job(job: JobRecord, node: &str) -> JobWire {
    JobWire {
        version: u64::try_from(job.updated_at.as_millis()).unwrap_or(0),
        updated_by: node.to_owned(),
        job,
    }
}

/// Returns a lease as its holder is told of it.
pub fn leased(claimed: Claimed) -> LeasedJob {
    LeasedJob {
        id: claimed.job,
        status: JobStatus::Leased,
        created_at: claimed.created_at,
        updated_at: claimed.expires_at.minus(claimed.lease_for),
        attempts: claimed.attempt,
        requirement: claimed.requirement,
        payload: claimed.payload,
        submitted_by: claimed.submitted_by,
        group: claimed.group,
        timeout_ms: claimed.timeout_ms,
        assigned_host_id: claimed.host,
        lease_expires_at: claimed.expires_at,
        lease_token: claimed.token,
        lease_ms: u64::try_from(claimed.lease_for.as_millis()).unwrap_or(u64::MAX),
        last_try: claimed.last_try,
    }
}

/// Returns what the queue calls a lease.
pub const fn lease(name: &LeaseName) -> LeaseRef {
    LeaseRef::new(name.job_id, name.attempt, name.lease_token)
}

/// Returns what a completion or release led to.
pub const fn completion(job_id: JobId, completion: Completion) -> CompleteResult {
    match completion {
        Completion::Ended { status, reason } => CompleteResult {
            job_id,
            outcome: Outcome::Ended,
            status: Some(status),
            reason,
        },
        Completion::Requeued { .. } => CompleteResult {
            job_id,
            outcome: Outcome::Requeued,
            status: None,
            reason: None,
        },
        Completion::LeaseLost => CompleteResult {
            job_id,
            outcome: Outcome::LeaseLost,
            status: None,
            reason: None,
        },
    }
}

/// Reads the id of a job in a path.
///
/// # Errors
/// An id that no job can have is one that no job has.
pub fn job_id(text: &str) -> Result<JobId, Refused> {
    text.parse().map_err(|_| unknown_job(text))
}

/// Reads the id of a host in a path.
///
/// # Errors
/// An id that no host can have is one that no host has.
pub fn host_id(text: &str) -> Result<HostId, Refused> {
    HostId::new(text).map_err(|_| unknown_host(text))
}

/// Refuses because there is no such job.
pub fn unknown_job(id: impl std::fmt::Display) -> Refused {
    Refused::new(Code::UnknownJob, format!("unknown job: {id}"))
}

/// Refuses because there is no such host.
pub fn unknown_host(id: impl std::fmt::Display) -> Refused {
    Refused::new(Code::UnknownHost, format!("unknown host: {id}"))
}
