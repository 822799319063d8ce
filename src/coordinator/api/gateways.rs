//! Gateways say where they are, and whoever looks for one hears of all.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::body::Body;
use super::error::Refused;
use super::reply::Reply;
use super::services::check;
use crate::coordinator::Room;
use crate::protocol::api::{Code, Gateway, Gateways};

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new().routes(routes!(list, hear))
}

/// Those heard of within the last minute, by URL.
#[utoipa::path(get, path = "/v1/gateways", responses((status = 200, body = Gateways)))]
async fn list(State(room): Shared) -> Reply<Gateways> {
    Reply::new(Gateways {
        gateways: room.gateways.all(),
    })
}

/// A gateway says where it is, and hears of all others. To be said again at least once a minute.
#[utoipa::path(
    post, path = "/v1/gateways", request_body = Gateway,
    responses((status = 200, body = Gateways))
)]
async fn hear(
    State(room): Shared,
    Body { value, .. }: Body<Gateway>,
) -> Result<Reply<Gateways>, Refused> {
    check::word("id", &value.id, 128)?;
    check::url("url", &value.url)?;
    if let Some(name) = &value.name {
        check::word("name", name, 255)?;
    }
    if !room.gateways.hear(value) {
        return Err(Refused::new(Code::TooMany, "too many gateways are known")
            .retry_after(Duration::from_secs(20)));
    }
    Ok(list(State(room)).await)
}
