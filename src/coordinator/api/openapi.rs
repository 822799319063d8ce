//! The description of the API, made from the same types that are read and written.

use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bytes::Bytes;
use utoipa::OpenApi;

use super::reply::JSON;
use crate::coordinator::Room;

/// What the description says of itself.
#[derive(OpenApi)]
#[openapi(info(
    title = "skyclaw coordinator",
    description = "Every route but /health needs the shared token in `x-skyclaw-token` or as a bearer. \
                   Errors are `{\"error\", \"code\"}`."
))]
struct Head;

/// Returns the description without routes.
pub fn head() -> utoipa::openapi::OpenApi {
    let mut head = Head::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut head.info.version);
    head
}

/// Returns the route that serves `document`. It does not describe itself.
pub fn route(document: utoipa::openapi::OpenApi) -> Router<Arc<Room>> {
    let text = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    Router::new().route(
        "/v1/openapi.json",
        get(move || async move { ([(CONTENT_TYPE, JSON)], text) }),
    )
}
