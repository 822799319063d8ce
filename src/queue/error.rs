//! What can go wrong with the queue. Lost leases and empty claims are answers, not errors.

use std::path::PathBuf;
use std::sync::Arc;

use super::cluster::{Member, MemberId};
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
    /// Another member of the cluster decides. Nothing was done; trying again there helps.
    #[error("{}", not_leader(leader.as_deref()))]
    NotLeader {
        /// Who, if that is known.
        leader: Option<Box<Member>>,
    },
    /// No majority answered in time, or leadership was lost on the way. Whether the command was or
    /// will be applied is not known; trying again with the same idempotency key is safe.
    #[error("no majority of the cluster answered: {0}")]
    NoQuorum(String),
    /// Only an empty queue can be taken into a cluster. Trying again does not help.
    #[error(
        "the queue {} has something in it: only an empty one can join a cluster, because joining takes over what the cluster has",
        path.display()
    )]
    NotEmpty {
        /// The file.
        path: PathBuf,
    },
    /// This is in no cluster, or in another one than the message is from.
    #[error("not a member: {0}")]
    NotAMember(String),
    /// The member must catch up first. Trying again later helps.
    #[error("member {id} is {entries} entries behind")]
    Behind {
        /// Which.
        id: MemberId,
        /// How far.
        entries: u64,
    },
    /// Another change of the members is under way. Trying again helps.
    #[error("another change of the cluster's members is under way")]
    Changing,
    /// The queue belongs to a cluster, so nobody may write it alone. Trying again does not help.
    #[error(
        "the queue {} is a member of a cluster: ask a coordinator of the cluster, or use a copy",
        path.display()
    )]
    IsMember {
        /// The file.
        path: PathBuf,
    },
    /// The log between members or what it is about is damaged, newer than this program, or does
    /// not fit the queue. Trying again does not help.
    #[error("the cluster's log {}: {detail}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// What was found, and what to do.
        detail: String,
    },
    /// What keeps the members in step has died. The process must end.
    #[error("the cluster engine ended: {0}")]
    Died(String),
}

fn not_leader(leader: Option<&Member>) -> String {
    match leader {
        Some(leader) => format!("not the leader: that is {} at {}", leader.name, leader.url),
        None => "not the leader, and none is known".to_owned(),
    }
}
