//! Whether the coordinator is there, and whether it can work.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::error::Refused;
use super::reply::Reply;
use crate::protocol::api::{Code, Health};

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<std::sync::Arc<crate::coordinator::Room>> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(ready))
}

/// That it is there. Needs no token and touches nothing.
#[utoipa::path(get, path = "/health", responses((status = 200, body = Health)))]
async fn health(State(room): Shared) -> Reply<Health> {
    Reply::new(Health {
        ok: true,
        node_id: room.settings.node_id.clone(),
    })
}

/// That it can write. 503 while the disk is full or the coordinator is stopping.
#[utoipa::path(get, path = "/ready", responses((status = 200, body = Health)))]
async fn ready(State(room): Shared) -> Result<Reply<Health>, Refused> {
    if *room.closing.borrow() {
        return Err(Refused::new(Code::Unavailable, "stopping"));
    }
    if room.storage.is_failing() {
        return Err(Refused::new(
            Code::Unavailable,
            "the queue cannot be written",
        ));
    }
    Ok(health(State(room)).await)
}
