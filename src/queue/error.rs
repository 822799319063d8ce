//! What can go wrong with the queue. Lost leases and empty claims are answers, not errors.

use std::path::PathBuf;
use std::sync::Arc;

use crate::protocol::{GroupId, Invalid};
use crate::support::paths;

/// The cause under a failure, shared by every caller that it hit.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// A failure of the queue.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A value is out of its range. Trying again does not help.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The group does not exist, or no longer. Trying again does not help.
    #[error("there is no group {0}")]
    NoSuchGroup(GroupId),
    /// The idempotency key was used with another body. Trying again does not help.
    #[error("idempotency key {0:?} was used for another request")]
    KeyConflict(String),
    /// A job or group has this id already. Trying again does not help.
    #[error("{0} is there already")]
    IdInUse(String),
    /// The directory or the file could not be made. Trying again helps when the cause is gone.
    #[error("prepare the queue file")]
    Place(#[source] Arc<paths::Error>),
    /// The file could not be opened. Trying again helps when the cause is gone.
    #[error("open the queue {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A newer skyclaw wrote the file. Trying again does not help.
    #[error(
        "the queue {} has schema {found}, this skyclaw knows up to {known}: use a newer skyclaw, or another file",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema in the file.
        found: i64,
        /// The newest schema this program knows.
        known: i64,
    },
    /// The file is damaged. Trying again does not help.
    #[error(
        "the queue {} is damaged ({detail}): move it and its -wal and -shm files aside, then restore a backup or start with an empty queue",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The disk or a quota is full. Nothing was written; trying again helps when there is room.
    #[error("no room to write the queue {}", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Another process kept the file locked for too long. Nothing was written; trying again helps.
    #[error("the queue {} is locked by another process", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// Reading or writing failed. Nothing was written; trying again may help.
    #[error("{act} the queue {}", path.display())]
    Storage {
        /// What was tried.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The queue is closing. Whether the command was applied is not known.
    #[error("the queue is closed")]
    Closed,
}
