//! Hosts introduce themselves, and people decide about them.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::error::Refused;
use super::key::Key;
use super::reply::Reply;
use super::{Shared, heartbeats, scope, wire};
use crate::coordinator::presence::{News, tidy};
use crate::coordinator::{Caller, Room};
use crate::protocol::api::{
    Code, Event, HostMode, HostRecord, HostReply, Hosts, Register, Registered,
};
use crate::protocol::{HostId, Payload};
use crate::queue::NewHost;
use crate::support::clock::{Clock, SystemClock};
use crate::support::ids;

/// What this coordinator can do beyond the original.
const FEATURES: [&str; 6] = ["wait", "batch", "logs", "exchange", "ahead", "services"];

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(drain))
        .routes(routes!(undrain))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(deregister))
}

/// Returns a host as others see it now.
///
/// # Errors
/// When there is no such host.
pub fn record(room: &Room, id: &HostId) -> Result<HostRecord, Refused> {
    room.presence
        .record(id, &room.settings.node_id, room.leases.count(id))
        .ok_or_else(|| wire::unknown_host(id))
}

/// Takes note of a host.
#[utoipa::path(
    post, path = "/v1/hosts/register", request_body = Register,
    responses((status = 200, body = Registered))
)]
async fn register(
    State(room): Shared,
    Extension(caller): Extension<Arc<Caller>>,
    key: Key,
    Body { value, bytes }: Body<Register>,
) -> Result<Reply<Registered>, Refused> {
    let name = value.name.trim();
    if name.is_empty() {
        return Err(Refused::bad("name is required"));
    }
    let id = match value.host_id {
        Some(id) => id,
        None => HostId::new(format!("host_{}", ids::time_ordered()))?,
    };
    if room.presence.rival(&id, value.instance.as_ref()) {
        return Err(Refused::new(
            Code::HostIdInUse,
            format!("host id {id} is used by another live host"),
        ));
    }
    let facts = value.facts.as_ref().map(Payload::of).transpose()?;
    let labels = match caller.said() {
        Some(said) => said.labels.clone(),
        None => value.labels,
    };
    let said = caller.said().and_then(|said| said.capabilities.clone());
    let capabilities = said.or(value.capabilities).unwrap_or_default();
    let host = NewHost {
        id,
        name: name.to_owned(),
        capabilities: tidy(capabilities),
        labels,
        max_parallel: caller.at_most(value.max_parallel.unwrap_or(1).max(1)),
        state_id: value.instance.as_ref().map(|one| one.state_id.clone()),
        facts,
    };
    let held = value
        .leases
        .as_ref()
        .map(|named| named.iter().map(wire::lease).collect());
    let names_leases = value.leases.is_some();
    let named = value.leases.unwrap_or_default();
    let now = room.now();
    let envelope = key.envelope(&bytes, now, room.settings.idempotency_ttl);
    let registered = match *caller {
        Caller::Owner | Caller::Network(_) => {
            let done = room.queue.register_host(host, held, envelope).await;
            done.map(Some)
        }
        // Looked at before, but two may come at once.
        Caller::Host { .. } => {
            let queue = &room.queue;
            queue.register_host_of_name(host, held, envelope).await
        }
    };
    let (entry, replayed) = registered
        .map_err(|error| room.refuse(error))?
        .ok_or_else(scope::forbidden)?;
    let id = entry.host.id.clone();
    let held = room.queue.leases_of(id.clone()).await;
    room.leases
        .found(&id, &held.map_err(|error| room.refuse(error))?);
    if names_leases {
        room.leases.named(&id);
    }
    let weight = caller.said().map(|said| said.weight).or(value.weight);
    let news = News {
        weight,
        blocked: value.blocked,
        facts: value.facts,
        clock_offset_ms: value.now.map(heartbeats::offset),
        names_leases,
    };
    room.presence.registered(entry, news, now);
    room.desk.wake();
    if matches!(*caller, Caller::Host { .. }) {
        room.presence.tunnels(&id);
    }
    room.tell(Event::HostRegistered {
        at: now,
        host_id: id.clone(),
    });
    let leases = heartbeats::renew(&room, &id, &named, None).await?.0;
    let body = Registered {
        host: record(&room, &id)?,
        lease_ms: u64::try_from(room.settings.lease_for.as_millis()).ok(),
        leases,
        features: FEATURES.map(ToOwned::to_owned).to_vec(),
        now: Some(SystemClock.now()),
    };
    Ok(Reply::keyed(body, replayed))
}

/// Every host.
#[utoipa::path(get, path = "/v1/hosts", responses((status = 200, body = Hosts)))]
async fn list(State(room): Shared) -> Reply<Hosts> {
    Reply::new(Hosts { hosts: all(&room) })
}

/// Returns every host as others see it now, by name.
pub fn all(room: &Room) -> Vec<HostRecord> {
    let mut hosts = room.presence.records(&room.settings.node_id);
    for host in &mut hosts {
        host.active_leases = room.leases.count(&host.id);
    }
    hosts
}

/// One host.
#[utoipa::path(
    get, path = "/v1/hosts/{id}", params(("id" = String, Path)),
    responses((status = 200, body = HostReply))
)]
async fn show(State(room): Shared, Path(id): Path<String>) -> Result<Reply<HostReply>, Refused> {
    let id = wire::host_id(&id)?;
    record(&room, &id).map(|host| Reply::new(HostReply { host }))
}

/// Lets a host finish what it has and gives it no more.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/drain", params(("id" = String, Path)),
    responses((status = 200, body = HostReply))
)]
async fn drain(State(room): Shared, Path(id): Path<String>) -> Result<Reply<HostReply>, Refused> {
    set_mode(&room, &id, HostMode::Draining).await
}

/// Gives a drained host work again.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/undrain", params(("id" = String, Path)),
    responses((status = 200, body = HostReply))
)]
async fn undrain(State(room): Shared, Path(id): Path<String>) -> Result<Reply<HostReply>, Refused> {
    set_mode(&room, &id, HostMode::Active).await
}

/// Gives a host no more for now.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/pause", params(("id" = String, Path)),
    responses((status = 200, body = HostReply))
)]
async fn pause(State(room): Shared, Path(id): Path<String>) -> Result<Reply<HostReply>, Refused> {
    set_mode(&room, &id, HostMode::Paused).await
}

/// Gives a paused host work again.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/resume", params(("id" = String, Path)),
    responses((status = 200, body = HostReply))
)]
async fn resume(State(room): Shared, Path(id): Path<String>) -> Result<Reply<HostReply>, Refused> {
    set_mode(&room, &id, HostMode::Active).await
}

async fn set_mode(room: &Room, id: &str, mode: HostMode) -> Result<Reply<HostReply>, Refused> {
    let id = wire::host_id(id)?;
    let entry = room
        .queue
        .set_host_mode(id.clone(), mode)
        .await
        .map_err(|error| room.refuse(error))?
        .ok_or_else(|| wire::unknown_host(&id))?;
    room.presence.changed(entry);
    room.desk.wake();
    let word = match mode {
        HostMode::Active => {
            room.waiting.try_all();
            "active"
        }
        HostMode::Draining => "draining",
        HostMode::Paused => "paused",
    };
    room.tell(Event::HostChanged {
        at: room.now(),
        host_id: id.clone(),
        state: word.to_owned(),
    });
    record(room, &id).map(|host| Reply::new(HostReply { host }))
}

/// A host leaves. What it still holds is lost at once.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/deregister", params(("id" = String, Path)),
    responses((status = 200, body = HostReply))
)]
async fn deregister(
    State(room): Shared,
    Path(id): Path<String>,
) -> Result<Reply<HostReply>, Refused> {
    let id = wire::host_id(&id)?;
    let host = record(&room, &id)?;
    room.queue
        .forget_host(id.clone())
        .await
        .map_err(|error| room.refuse(error))?;
    room.presence.forget(&id);
    room.desk.forget(&id);
    room.leases.found(&id, &[]);
    room.tell(Event::HostChanged {
        at: room.now(),
        host_id: id,
        state: "gone".to_owned(),
    });
    Ok(Reply::new(HostReply { host }))
}
