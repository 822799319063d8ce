//! Output of services on its way from a host to readers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::protocol::HostId;

/// Output that readers wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WantedLogs {
    /// Which request this is; a greater one begins anew.
    pub request: u64,
    /// How many of the latest lines to begin with.
    pub tail: u32,
    /// Whether what comes later is wanted as well, for as long as this stands in the answers.
    pub follow: bool,
}

/// `POST /v1/hosts/:id/services/logs`: output of one assignment, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceOutput {
    /// Whose.
    pub assignment_id: String,
    /// Which request of [`WantedLogs`] it answers.
    pub request: u64,
    /// The bytes, base64.
    pub data: String,
    /// Nothing more follows.
    #[serde(default)]
    pub end: bool,
}

/// The answer to [`ServiceOutput`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct TakenOutput {
    /// Somebody still reads. Otherwise the host need not send more of this request.
    #[serde(default)]
    pub wanted: bool,
}

/// One piece of `GET /v1/services/:id/logs`, a stream of server-sent events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLogPiece {
    /// Whose.
    pub assignment_id: String,
    /// On which host.
    pub host_id: HostId,
    /// The bytes, base64. Absent at the end of this assignment's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Why there is nothing more, if not because it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
