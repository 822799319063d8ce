//! New jobs and the groups they belong to.

use serde::{Deserialize, Serialize};

use crate::protocol::{GroupId, Invalid, JobId, Payload, Requirement};
use crate::support::clock::Timestamp;

/// How many tries or retries one job may be given: more is a mistake, and attempt numbers are small.
pub const MOST_TRIES: u16 = 1000;

/// New jobs, all or none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Submit {
    /// The group they belong to.
    pub group: Option<IntoGroup>,
    /// The jobs, in the order in which they are to run.
    pub jobs: Vec<NewJob>,
}

/// Which group new jobs belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntoGroup {
    /// One made with them.
    New(NewGroup),
    /// One that is there.
    Existing(GroupId),
}

/// A group to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewGroup {
    /// Its id.
    pub id: GroupId,
    /// What makes it, such as `dispatch`.
    pub kind: String,
    /// One line for people.
    pub title: String,
    /// The group it repeats or continues.
    pub parent: Option<GroupId>,
    /// Whatever its maker wants to find again.
    pub meta: Payload,
}

/// A job to be submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// What to run.
    pub payload: Payload,
    /// Who may run it.
    pub requirement: Requirement,
    /// Who asks for it.
    pub submitted_by: Option<String>,
    /// Higher runs first, −100 to 100.
    pub priority: i8,
    /// How many lost leases end it, at least 1.
    pub max_attempts: u16,
    /// How often it runs again after it failed by itself.
    pub retries: u16,
    /// How long one try may run.
    pub timeout_ms: Option<u64>,
    /// When a try must have begun.
    pub start_by: Option<Timestamp>,
    /// When the first try may begin.
    pub not_before: Option<Timestamp>,
}

impl NewJob {
    /// Returns a job with a fresh id that any host may run: three tries if hosts vanish, no retry if it fails.
    pub fn new(payload: Payload) -> Self {
        Self {
            id: JobId::fresh(),
            payload,
            requirement: Requirement::default(),
            submitted_by: None,
            priority: 0,
            max_attempts: 3,
            retries: 0,
            timeout_ms: None,
            start_by: None,
            not_before: None,
        }
    }

    /// Checks the ranges of its numbers.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<(), Invalid> {
        if !(-100..=100).contains(&self.priority) {
            return Err(Invalid::new("priority", "must be from -100 to 100"));
        }
        if !(1..=MOST_TRIES).contains(&self.max_attempts) {
            return Err(Invalid::new("max attempts", "must be from 1 to 1000"));
        }
        if self.retries > MOST_TRIES {
            return Err(Invalid::new("retries", "must be at most 1000"));
        }
        Ok(())
    }
}
