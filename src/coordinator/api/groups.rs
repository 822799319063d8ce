//! Looking at groups: what was asked for together, and where it stands.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Asked;
use super::error::Refused;
use super::reply::Reply;
use super::{Consistency, Shared};
use crate::coordinator::Room;
use crate::protocol::GroupId;
use crate::protocol::api::{Code, GroupReply, Groups};

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// 200 if not given, 500 at most.
    limit: Option<u32>,
}

/// The newest groups, newest first.
#[utoipa::path(
    get, path = "/v1/groups", params(Which, Consistency), responses((status = 200, body = Groups))
)]
async fn list(State(room): Shared, Asked(which): Asked<Which>) -> Result<Reply<Groups>, Refused> {
    let limit = which.limit.unwrap_or(200).clamp(1, 500);
    let groups = room.queue.groups(limit).await;
    Ok(Reply::new(Groups {
        groups: groups.map_err(|error| room.refuse(error))?,
    }))
}

/// One group.
#[utoipa::path(
    get, path = "/v1/groups/{id}", params(("id" = String, Path), Consistency),
    responses((status = 200, body = GroupReply))
)]
async fn show(State(room): Shared, Path(id): Path<String>) -> Result<Reply<GroupReply>, Refused> {
    let unknown = || Refused::new(Code::UnknownGroup, format!("unknown group: {id}"));
    let asked: GroupId = id.parse().map_err(|_| unknown())?;
    let group = room.queue.group(asked).await;
    let group = group.map_err(|error| room.refuse(error))?;
    Ok(Reply::new(GroupReply {
        group: group.ok_or_else(unknown)?,
    }))
}
