//! Output of services as their hosts send it, for whoever reads it just now.

use std::sync::Arc;

use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::Body;
use super::super::error::Refused;
use super::super::reply::Reply;
use super::super::{Shared, wire};
use super::check;
use crate::coordinator::Room;
use crate::coordinator::services::relay::Source;
use crate::protocol::api::{ServiceOutput, TakenOutput};

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new().routes(routes!(take))
}

/// Takes output of one assignment and says whether more is wanted. Nothing of it is kept. The answer may wait a few
/// seconds for readers that are slow.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/services/logs", params(("id" = String, Path)),
    request_body = ServiceOutput, responses((status = 200, body = TakenOutput))
)]
async fn take(
    State(room): Shared,
    Path(id): Path<String>,
    Body { value, .. }: Body<ServiceOutput>,
) -> Result<Reply<TakenOutput>, Refused> {
    let host = wire::host_id(&id)?;
    if !room.presence.contains(&host) {
        return Err(wire::unknown_host(&host));
    }
    check::word("assignmentId", &value.assignment_id, 255)?;
    let bytes = STANDARD
        .decode(value.data)
        .map_err(|_| Refused::bad("data is not base64"))?;
    let bytes = Bytes::from(bytes);
    let from = Source {
        assignment: value.assignment_id.into(),
        host,
    };
    let relay = &room.desk.relay;
    relay.room_for(&from, value.request, bytes.len()).await;
    let (wanted, other) = relay.pour(&from, value.request, &bytes, value.end);
    if other {
        room.desk.nudge(&from.host);
    }
    Ok(Reply::new(TakenOutput { wanted }))
}
