//! Services: what people ask of them and see of them. Their hosts' side is in `sync` and `output`, that of hosts of
//! the original in `original`.

pub mod check;
mod logs;
mod original;
mod output;
mod sync;

use std::sync::Arc;

use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::body::Body;
use super::error::Refused;
use super::key::Key;
use super::reply::Reply;
use crate::coordinator::Room;
use crate::protocol::api::{
    ChangeService, Code, DeployService, ServiceRecord, ServiceReply, Services,
};
use crate::queue::ServiceChanged;
use crate::support::ids;

/// How many services there may be.
const MOST: usize = 1000;

/// Returns the routes of this folder.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new()
        .routes(routes!(list, deploy))
        .routes(routes!(show))
        .routes(routes!(change))
        .merge(logs::routes())
        .merge(original::routes())
        .merge(output::routes())
        .merge(sync::routes())
}

/// Refuses because there is no such service.
pub(super) fn unknown() -> Refused {
    Refused::new(Code::UnknownService, "service not found")
}

/// Asks for a service, or for another form of one that is there.
#[utoipa::path(
    post, path = "/v1/services", request_body = DeployService,
    responses((status = 200, body = ServiceReply<ServiceRecord>))
)]
async fn deploy(
    State(room): Shared,
    key: Key,
    Body { value, bytes }: Body<DeployService>,
) -> Result<Reply<ServiceReply>, Refused> {
    check::deploy(&value)?;
    let named = value.service_id.as_deref().map(str::trim);
    let id = match named.filter(|id| !id.is_empty()) {
        Some(id) => id.to_owned(),
        None => format!("svc_{}", ids::time_ordered()),
    };
    if room.desk.count() >= MOST && !is_update(&room, &value, &id) {
        let text = format!("there are {MOST} services: remove one first");
        return Err(Refused::new(Code::TooMany, text));
    }
    let envelope = key.envelope(&bytes, room.now(), room.settings.idempotency_ttl);
    let node = room.settings.node_id.clone();
    let done = room.queue.deploy_service(id, value, node, envelope).await;
    let (service, replayed) = done.map_err(|error| room.refuse(error))?;
    if !replayed {
        room.services_changed([&service]);
    }
    let service = service.masked();
    Ok(Reply::keyed(ServiceReply { service }, replayed))
}

fn is_update(room: &Room, ask: &DeployService, id: &str) -> bool {
    let all = room.desk.all();
    let mut all = all.iter();
    all.any(|one| one.id == id || ask.by_name && one.name == ask.name.trim())
}

/// Every service, oldest first. Secrets are not shown.
#[utoipa::path(get, path = "/v1/services", responses((status = 200, body = Services)))]
async fn list(State(room): Shared) -> Result<Reply<Services>, Refused> {
    let services = all(&room).await?;
    Ok(Reply::new(Services { services }))
}

/// Returns every service as readers may see it.
pub(super) async fn all(room: &Room) -> Result<Vec<ServiceRecord>, Refused> {
    let services = room.queue.services().await;
    let services = services.map_err(|error| room.refuse(error))?;
    Ok(services.into_iter().map(ServiceRecord::masked).collect())
}

/// One service. Secrets are not shown.
#[utoipa::path(
    get, path = "/v1/services/{id}", params(("id" = String, Path)),
    responses((status = 200, body = ServiceReply<ServiceRecord>))
)]
async fn show(State(room): Shared, Path(id): Path<String>) -> Result<Reply<ServiceReply>, Refused> {
    let found = room.queue.service(id).await;
    let found = found.map_err(|error| room.refuse(error))?;
    let service = found.ok_or_else(unknown)?.masked();
    Ok(Reply::new(ServiceReply { service }))
}

/// Stops, starts, restarts, scales or removes a service.
#[utoipa::path(
    post, path = "/v1/services/{id}/change", params(("id" = String, Path)),
    request_body = ChangeService, responses((status = 200, body = ServiceReply<ServiceRecord>))
)]
async fn change(
    State(room): Shared,
    Path(id): Path<String>,
    key: Key,
    Body { value, bytes }: Body<ChangeService>,
) -> Result<Reply<ServiceReply>, Refused> {
    check::change(&value)?;
    let envelope = key.envelope(&bytes, room.now(), room.settings.idempotency_ttl);
    let node = room.settings.node_id.clone();
    let done = room.queue.change_service(id, value, node, envelope).await;
    let (changed, replayed) = done.map_err(|error| room.refuse(error))?;
    match changed {
        ServiceChanged::Changed(service) => {
            if !replayed {
                room.services_changed([&*service]);
            }
            let service = service.masked();
            Ok(Reply::keyed(ServiceReply { service }, replayed))
        }
        ServiceChanged::Unknown => Err(unknown()),
    }
}
