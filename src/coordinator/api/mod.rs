//! The routes: one file per resource. A handler reads, asks the queue, and answers. What a host may
//! do over its tunnel is not for handlers to know: `scope` stands before them all.

pub(super) mod body;
mod claims;
mod completions;
pub(super) mod error;
mod events;
mod exchange;
mod explain;
mod gateways;
mod groups;
mod health;
mod heartbeats;
mod hosts;
mod jobs;
pub(super) mod key;
mod logs;
mod network;
mod openapi;
mod public;
mod queue;
pub(super) mod repeat;
mod replicate;
pub(super) mod reply;
mod scope;
mod services;
pub(super) mod share;
mod state;
mod stream;
mod submit;
mod surrogates;
mod wire;

use std::sync::{Arc, LazyLock};

use axum::{Router, middleware};
use utoipa_axum::router::OpenApiRouter;

use self::error::Refused;
use super::Room;
use crate::protocol::JobId;
use crate::protocol::api::{Code, JobReply};

/// What every handler is given.
type Shared = axum::extract::State<Arc<Room>>;

/// How new what is read must be.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(
    dead_code,
    reason = "decided on before the routes; here for the description"
)]
struct Consistency {
    /// In a cluster, answers hold everything that was written before they were asked for. With `local` this coordinator
    /// answers out of its own file, at once and whoever leads; that may be old.
    consistency: Option<String>,
}

/// Returns all routes.
pub fn router(room: Arc<Room>) -> Router {
    let (routes, document) = described().split_for_parts();
    routes
        .merge(openapi::route(document))
        .method_not_allowed_fallback(|| async {
            Refused::new(Code::MethodNotAllowed, "method not allowed")
        })
        .fallback(|| async { Refused::new(Code::NotFound, "not found") })
        .layer(middleware::from_fn_with_state(
            Arc::clone(&room),
            scope::check,
        ))
        .with_state(room)
}

/// Returns the routes that a member of a cluster serves whoever leads: to look at what is in its own file.
pub fn reading(room: Arc<Room>) -> Router {
    static ROUTES: LazyLock<Router<Arc<Room>>> = LazyLock::new(|| {
        let routes = OpenApiRouter::new()
            .merge(jobs::routes())
            .merge(groups::routes())
            .merge(logs::routes())
            .merge(state::routes())
            .merge(network::routes());
        Router::from(routes)
            .method_not_allowed_fallback(|| async {
                Refused::new(Code::MethodNotAllowed, "method not allowed")
            })
            .fallback(|| async { Refused::new(Code::NotFound, "not found") })
    });
    ROUTES.clone().with_state(room)
}

/// Returns the routes with their description.
fn described() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::with_openapi(openapi::head())
        .merge(health::routes())
        .merge(hosts::routes())
        .merge(heartbeats::routes())
        .merge(claims::routes())
        .merge(completions::routes())
        .merge(submit::routes())
        .merge(jobs::routes())
        .merge(groups::routes())
        .merge(explain::routes())
        .merge(logs::routes())
        .merge(state::routes())
        .merge(queue::routes())
        .merge(events::routes())
        .merge(network::routes())
        .merge(replicate::routes())
        .merge(services::routes())
        .merge(gateways::routes())
        .merge(public::routes())
}

/// Returns a job as [`JobReply`] in JSON, or nothing if it is gone.
pub(super) async fn described_job(room: &Room, id: JobId) -> Option<Vec<u8>> {
    let view = room.queue.job(id).await.ok()??;
    let body = JobReply {
        job: wire::job(view.job, &room.settings.node_id),
    };
    serde_json::to_vec(&body).ok()
}
