//! Gateways, as they tell of themselves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A gateway, as it tells coordinators (`POST /v1/gateways`) and as they tell others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// Chosen by it at its start.
    pub id: String,
    /// Where clients reach it.
    pub url: String,
    /// What its operator calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `GET /v1/gateways`: those heard of within the last minute, by URL.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Gateways {
    /// Every one.
    pub gateways: Vec<Gateway>,
}
