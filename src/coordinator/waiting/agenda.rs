//! What the dispatcher is to look at.

use crate::protocol::{HostId, JobId, LeaseToken, Requirement};
use crate::queue::Claimant;

/// A job that may be claimed, and by whom if that is known.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Which job.
    pub job: JobId,
    /// Who may run it.
    pub requirement: Option<Requirement>,
    /// The lease that is over, should the mirror still show it.
    pub old: Option<LeaseToken>,
}

/// What the dispatcher is to look at.
#[derive(Debug, Default)]
pub struct Agenda {
    /// Jobs that became ready.
    pub jobs: Vec<Ready>,
    /// Waiters that may have missed one.
    pub missed: Vec<u64>,
    /// Anything may have been missed.
    pub all: bool,
}

impl Agenda {
    /// Tells whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.missed.is_empty() && !self.all
    }
}

impl Ready {
    /// Tells whether `claimant` may take it, as far as that is known.
    pub fn fits(&self, claimant: &Claimant) -> bool {
        self.requirement.as_ref().is_none_or(|requirement| {
            let names = std::iter::once(&claimant.host).chain(&claimant.names);
            requirement.is_met_by(
                names.map(HostId::as_str),
                &claimant.capabilities,
                &claimant.labels,
            )
        })
    }
}
