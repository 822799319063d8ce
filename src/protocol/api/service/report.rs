//! What a host of the original says of a service.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::record::ServiceStatus;
use crate::protocol::HostId;

/// `POST /v1/services/:id/report`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportService {
    /// Which host.
    pub host_id: HostId,
    /// Whether it runs there.
    pub status: ServiceStatus,
    /// Where it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
