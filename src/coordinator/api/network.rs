//! What coordinators of the original ask each other. This one runs alone and says so.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::body::{Body, HUGE};
use super::error::Refused;
use super::reply::Reply;
use crate::coordinator::Room;
use crate::protocol::api::{Code, ErrorBody, Join, Peers};

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new()
        .routes(routes!(peers))
        .routes(routes!(join))
        .routes(routes!(snapshot))
}

/// The other coordinators: none.
#[utoipa::path(get, path = "/v1/network/peers", responses((status = 200, body = Peers)))]
async fn peers(State(room): Shared) -> Reply<Peers> {
    Reply::new(Peers {
        node_id: room.settings.node_id.clone(),
        self_url: room.settings.public_url.clone(),
        peers: Vec::new(),
    })
}

/// Refused: taking in another coordinator whose writes are not seen here would lose jobs.
#[utoipa::path(
    post, path = "/v1/network/join", request_body = Join,
    responses((status = 409, body = ErrorBody))
)]
async fn join(Body { value, .. }: Body<Join>) -> Result<(), Refused> {
    if value.url.trim().is_empty() {
        return Err(Refused::bad("url is required"));
    }
    Err(alone())
}

/// Refused, for the same reason.
#[utoipa::path(
    post, path = "/v1/replicate/snapshot",
    responses((status = 409, body = ErrorBody))
)]
async fn snapshot(_body: Body<serde::de::IgnoredAny, HUGE>) -> Result<(), Refused> {
    Err(alone())
}

fn alone() -> Refused {
    Refused::new(
        Code::Conflict,
        "this coordinator runs alone: it takes no peers and no snapshots",
    )
}
