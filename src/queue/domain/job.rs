//! What the transitions know of a job: its limits, its counters, and its state with that state's data.

use crate::protocol::{AttemptNo, HostId, JobStatus, Reason};
use crate::support::clock::Timestamp;

use super::lease::Lease;

/// How often a job may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many lost leases end it.
    pub max_attempts: u16,
    /// How often it runs again after it failed by itself.
    pub retries: u16,
}

/// A host that should not get the job again for a while, because it vanished with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Avoid {
    /// Which host.
    pub host: HostId,
    /// Until when others go first.
    pub until: Timestamp,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Nothing if it ended well.
    pub failure: Option<Reason>,
    /// When.
    pub at: Timestamp,
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Waits for a host.
    Queued {
        /// Not to be given out earlier.
        not_before: Option<Timestamp>,
    },
    /// One host may run it.
    Leased(Lease),
    /// Never changes again.
    Ended(Ending),
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// How often it may be tried.
    pub limits: Limits,
    /// When a try must have begun.
    pub start_by: Option<Timestamp>,
    /// Whether only one host may run it; then there is no other host to prefer after a loss.
    pub pinned: bool,
    /// How many tries were begun. Only grows.
    pub attempt: AttemptNo,
    /// How many of them lost their lease.
    pub lost: u16,
    /// How many of them failed by themselves.
    pub failed: u16,
    /// Who should not get it next.
    pub avoid: Option<Avoid>,
    /// Where it stands.
    pub state: State,
}

impl Job {
    /// Returns the status word.
    pub const fn status(&self) -> JobStatus {
        match &self.state {
            State::Queued { .. } => JobStatus::Queued,
            State::Leased(_) => JobStatus::Leased,
            State::Ended(ending) => match ending.failure {
                None => JobStatus::Completed,
                Some(_) => JobStatus::Failed,
            },
        }
    }

    /// Returns when something happens to this job by itself, if ever.
    pub fn due_at(&self) -> Option<Timestamp> {
        match &self.state {
            State::Queued { not_before } => {
                let free = self.avoid.as_ref().map(|avoid| avoid.until);
                let ready = not_before.or(free);
                match (ready, self.start_by) {
                    (Some(ready), Some(late)) => Some(ready.min(late)),
                    (one, other) => one.or(other),
                }
            }
            State::Leased(lease) => Some(lease.expires_at),
            State::Ended(_) => None,
        }
    }
}
