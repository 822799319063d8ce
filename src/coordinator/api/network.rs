//! Which coordinators there are, who joins them and who goes; in the original's forms where it has any.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::body::Body;
use super::error::Refused;
use super::reply::Reply;
use crate::coordinator::Room;
use crate::coordinator::cluster::Members;
use crate::protocol::api::{Code, ErrorBody, Join, Peers, RemovePeer};

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new()
        .routes(routes!(peers))
        .routes(routes!(join))
        .routes(routes!(leave))
        .routes(routes!(remove))
}

/// The coordinators of this cluster: how each of them is, as far as the leader knows. Answered by the coordinator
/// that is asked, also while nobody leads.
#[utoipa::path(get, path = "/v1/network/peers", responses((status = 200, body = Peers)))]
async fn peers(State(room): Shared) -> Reply<Peers> {
    Reply::new(of(&room).await)
}

/// Asks the coordinator at an address to join this cluster. It must wait to join one, or run alone and have nothing in its
/// queue; coordinators of the original are refused.
#[utoipa::path(
    post, path = "/v1/network/join", request_body = Join,
    responses((status = 200, body = Peers), (status = 409, body = ErrorBody))
)]
async fn join(
    State(room): Shared,
    Body { value, .. }: Body<Join>,
) -> Result<Reply<Peers>, Refused> {
    if value.url.trim().is_empty() {
        return Err(Refused::bad("url is required"));
    }
    members(&room)?.invite(&value.url).await?;
    Ok(done(&room).await)
}

/// The coordinator that is asked leaves its cluster, and ends.
#[utoipa::path(
    post, path = "/v1/network/leave",
    responses((status = 200, body = Peers), (status = 409, body = ErrorBody))
)]
async fn leave(State(room): Shared) -> Result<Reply<Peers>, Refused> {
    members(&room)?.leave().await?;
    Ok(done(&room).await)
}

/// Removes a member, by its number, its name or its address: one that is gone for good, or one that is there, which ends
/// then.
#[utoipa::path(
    post, path = "/v1/network/remove", request_body = RemovePeer,
    responses(
        (status = 200, body = Peers), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)
    )
)]
async fn remove(
    State(room): Shared,
    Body { value, .. }: Body<RemovePeer>,
) -> Result<Reply<Peers>, Refused> {
    members(&room)?.remove(&value).await?;
    Ok(done(&room).await)
}

fn members(room: &Room) -> Result<&Arc<Members>, Refused> {
    room.members().ok_or_else(|| {
        let text = "this coordinator runs alone: it takes no peers";
        Refused::new(Code::Conflict, text)
    })
}

async fn of(room: &Room) -> Peers {
    match room.members() {
        Some(members) => members.peers().await,
        None => Peers {
            node_id: room.settings.node_id.clone(),
            self_url: room.settings.public_url.clone(),
            ..Peers::default()
        },
    }
}

async fn done(room: &Room) -> Reply<Peers> {
    Reply::new(Peers {
        ok: Some(true),
        ..of(room).await
    })
}
