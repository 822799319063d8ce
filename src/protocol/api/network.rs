//! What coordinators of the original tell each other about who there is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/network/peers`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Peers {
    /// Which coordinator answers.
    pub node_id: String,
    /// Where it is reached, if it knows.
    #[serde(default, rename = "self", skip_serializing_if = "Option::is_none")]
    pub self_url: Option<String>,
    /// The others it knows.
    pub peers: Vec<String>,
}

/// `POST /v1/network/join`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Join {
    /// Where the sender is reached. Required.
    #[serde(default)]
    pub url: String,
}
