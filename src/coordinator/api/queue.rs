//! The queue as a whole: how much there is, and the switch that stops all giving out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::error::Refused;
use super::reply::Reply;
use crate::coordinator::Room;
use crate::protocol::api::QueueState;

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(pause))
        .routes(routes!(resume))
}

/// How many jobs have which status.
#[utoipa::path(get, path = "/v1/queue", responses((status = 200, body = QueueState)))]
async fn show(State(room): Shared) -> Result<Reply<QueueState>, Refused> {
    state(&room).await
}

/// Gives nothing out any more. Running jobs go on.
#[utoipa::path(post, path = "/v1/queue/pause", responses((status = 200, body = QueueState)))]
async fn pause(State(room): Shared) -> Result<Reply<QueueState>, Refused> {
    set(&room, true).await
}

/// Gives out again.
#[utoipa::path(post, path = "/v1/queue/resume", responses((status = 200, body = QueueState)))]
async fn resume(State(room): Shared) -> Result<Reply<QueueState>, Refused> {
    set(&room, false).await
}

async fn set(room: &Room, paused: bool) -> Result<Reply<QueueState>, Refused> {
    let done = room.queue.set_paused(paused).await;
    done.map_err(|error| room.refuse(error))?;
    room.paused.store(paused, Ordering::Relaxed);
    if !paused {
        room.waiting.try_all();
    }
    state(room).await
}

async fn state(room: &Room) -> Result<Reply<QueueState>, Refused> {
    let counts = room.queue.counts().await;
    Ok(Reply::new(QueueState {
        paused: room.is_paused(),
        counts: counts.map_err(|error| room.refuse(error))?,
    }))
}
