//! Looking at groups.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::protocol::GroupRecord;

/// `GET /v1/groups?limit=`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Groups {
    /// Newest first.
    pub groups: Vec<GroupRecord>,
}

/// `GET /v1/groups/:id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupReply {
    /// The group.
    pub group: GroupRecord,
}
