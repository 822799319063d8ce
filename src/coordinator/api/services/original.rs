//! Services as hosts of the original take them and report on them.

use std::sync::Arc;

use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::Body;
use super::super::error::Refused;
use super::super::reply::Reply;
use super::super::{Shared, claims, hosts, wire};
use super::check;
use crate::coordinator::Room;
use crate::protocol::api::{Code, ReportService, ServiceRecord, ServiceReply};
use crate::queue::ServiceReported;
use crate::queue::domain::service::for_old_host;

/// The answer when there is a service, or none for this host.
type Maybe = ServiceReply<Option<ServiceRecord>>;

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new()
        .routes(routes!(claim))
        .routes(routes!(report))
}

/// Gives a host of the original a service that it has or may take, or null. Its secrets are among the variables:
/// such a host knows no others.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/services/claim", params(("id" = String, Path)),
    responses((status = 200, body = ServiceReply<Option<ServiceRecord>>))
)]
async fn claim(State(room): Shared, Path(id): Path<String>) -> Result<Reply<Maybe>, Refused> {
    let id = wire::host_id(&id)?;
    claims::greet(&room, &id)?;
    let host = hosts::record(&room, &id)?;
    let node = room.settings.node_id.clone();
    let claimed = room
        .queue
        .claim_service(host.id, host.capabilities, node)
        .await;
    let service = claimed.map_err(|error| room.refuse(error))?;
    room.services_changed(&service);
    let service = service.map(for_old_host);
    Ok(Reply::new(ServiceReply { service }))
}

/// A host of the original tells how its part of a service is.
#[utoipa::path(
    post, path = "/v1/services/{id}/report", params(("id" = String, Path)),
    request_body = ReportService, responses((status = 200, body = ServiceReply<ServiceRecord>))
)]
async fn report(
    State(room): Shared,
    Path(id): Path<String>,
    Body { value, .. }: Body<ReportService>,
) -> Result<Reply<ServiceReply>, Refused> {
    check::report(&value)?;
    let host = value.host_id.clone();
    let node = room.settings.node_id.clone();
    let reported = room.queue.report_service(id.clone(), value, node).await;
    match reported.map_err(|error| room.refuse(error))? {
        ServiceReported::Noted(service) => {
            room.services_changed([&*service]);
            let service = service.masked();
            Ok(Reply::new(ServiceReply { service }))
        }
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
