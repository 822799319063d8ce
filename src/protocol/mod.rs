//! Records and ids that cross a process border. Only data and its text form: no files, no network, no clock.

pub mod api;
pub mod ends;
pub mod group;
pub mod ids;
pub mod job;
pub mod output;
pub mod payload;
pub mod requirement;
pub mod usage;

pub use ends::Ends;
pub use group::{GroupCounts, GroupRecord};
pub(crate) use ids::as_text;
pub use ids::{AttemptNo, GroupId, HostId, JobId, LeaseToken};
pub use job::{AttemptEnd, AttemptRecord, CancelRecord, JobRecord, JobResult, JobStatus, Reason};
pub use output::{OUTPUT_LIMIT, Output};
pub use payload::Payload;
pub use requirement::Requirement;
pub use usage::Usage;

/// A value that does not have the form its type demands. Trying again with the same text does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not valid: {why}")]
pub struct Invalid {
    /// Which kind of value.
    pub what: &'static str,
    /// What is wrong with it, with the text where that helps.
    pub why: String,
}

impl Invalid {
    /// Returns the complaint that a `what` is wrong because of `why`.
    pub fn new(what: &'static str, why: impl Into<String>) -> Self {
        Self {
            what,
            why: why.into(),
        }
    }
}
