//! Services by the original's rules, for its hosts, its command line and its gateways.

use std::sync::Arc;

use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::error::Refused;
use super::key::Key;
use super::reply::Reply;
use super::{Shared, hosts, wire};
use crate::coordinator::Room;
use crate::protocol::api::{
    Code, DeployService, ReportService, ServiceRecord, ServiceReply, Services,
};
use crate::queue::ServiceReported;
use crate::support::ids;

/// The answer when there is a service, or none for this host.
type Maybe = ServiceReply<Option<ServiceRecord>>;

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new()
        .routes(routes!(list, deploy))
        .routes(routes!(show))
        .routes(routes!(claim))
        .routes(routes!(report))
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
    for (word, missing) in [
        (&value.name, "name is required"),
        (&value.command, "command is required"),
    ] {
        if word.trim().is_empty() {
            return Err(Refused::bad(missing));
        }
    }
    let id = match value.service_id.as_deref().map(str::trim) {
        Some(id) if !id.is_empty() => id.to_owned(),
        Some(_) | None => format!("svc_{}", ids::time_ordered()),
    };
    let envelope = key.envelope(&bytes, room.now(), room.settings.idempotency_ttl);
    let node = room.settings.node_id.clone();
    let done = room.queue.deploy_service(id, value, node, envelope).await;
    let (service, replayed) = done.map_err(|error| room.refuse(error))?;
    Ok(Reply::keyed(ServiceReply { service }, replayed))
}

/// Every service, oldest first.
#[utoipa::path(get, path = "/v1/services", responses((status = 200, body = Services)))]
async fn list(State(room): Shared) -> Result<Reply<Services>, Refused> {
    let services = room.queue.services().await;
    let services = services.map_err(|error| room.refuse(error))?;
    Ok(Reply::new(Services { services }))
}

/// One service.
#[utoipa::path(
    get, path = "/v1/services/{id}", params(("id" = String, Path)),
    responses((status = 200, body = ServiceReply<ServiceRecord>))
)]
async fn show(State(room): Shared, Path(id): Path<String>) -> Result<Reply<ServiceReply>, Refused> {
    let found = room.queue.service(id).await;
    let found = found.map_err(|error| room.refuse(error))?;
    let service = found.ok_or_else(|| Refused::new(Code::UnknownService, "service not found"))?;
    Ok(Reply::new(ServiceReply { service }))
}

/// Gives a host the oldest service that it has or may take, or null.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/services/claim", params(("id" = String, Path)),
    responses((status = 200, body = ServiceReply<Option<ServiceRecord>>))
)]
async fn claim(State(room): Shared, Path(id): Path<String>) -> Result<Reply<Maybe>, Refused> {
    let host = hosts::record(&room, &wire::host_id(&id)?)?;
    let node = room.settings.node_id.clone();
    let claimed = room
        .queue
        .claim_service(host.id, host.capabilities, node)
        .await;
    let service = claimed.map_err(|error| room.refuse(error))?;
    Ok(Reply::new(ServiceReply { service }))
}

/// A host tells how its part of a service is.
#[utoipa::path(
    post, path = "/v1/services/{id}/report", params(("id" = String, Path)),
    request_body = ReportService, responses((status = 200, body = ServiceReply<ServiceRecord>))
)]
async fn report(
    State(room): Shared,
    Path(id): Path<String>,
    Body { value, .. }: Body<ReportService>,
) -> Result<Reply<ServiceReply>, Refused> {
    let host = value.host_id.clone();
    let node = room.settings.node_id.clone();
    let reported = room.queue.report_service(id.clone(), value, node).await;
    match reported.map_err(|error| room.refuse(error))? {
        ServiceReported::Noted(service) => Ok(Reply::new(ServiceReply { service: *service })),
        ServiceReported::Unknown => Err(Refused::new(
            Code::UnknownService,
            format!("unknown service: {id}"),
        )),
        ServiceReported::NotAssigned => Err(Refused::new(
            Code::Conflict,
            format!("service {id} is not assigned to host {host}"),
        )),
    }
}
