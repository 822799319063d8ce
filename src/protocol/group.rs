//! Jobs that were asked for together.

use serde::{Deserialize, Serialize};

use super::{GroupId, Payload};
use crate::support::clock::Timestamp;

/// How many jobs of a group have which status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GroupCounts {
    /// Waiting, also those that may not start yet.
    pub queued: u64,
    /// Being run.
    pub leased: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended badly, or not run.
    pub failed: u64,
}

impl GroupCounts {
    /// Returns the number of all jobs.
    pub const fn total(&self) -> u64 {
        self.queued + self.leased + self.completed + self.failed
    }

    /// Tells whether no job can change any more.
    pub const fn is_final(&self) -> bool {
        self.queued == 0 && self.leased == 0
    }
}

/// A group and where its jobs stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupRecord {
    /// Its id.
    pub id: GroupId,
    /// What made it, such as `dispatch`.
    pub kind: String,
    /// One line for people.
    pub title: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The group it repeats or continues.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<GroupId>,
    /// Whatever its maker wants to find again.
    pub meta: Payload,
    /// Where its jobs stand.
    pub counts: GroupCounts,
}
