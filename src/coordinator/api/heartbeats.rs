//! Hosts say that they are alive and what they work on, and hear what is to end.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::error::Refused;
use super::key::Key;
use super::reply::Reply;
use super::{Shared, hosts, wire};
use crate::coordinator::Room;
use crate::coordinator::leases::is_due;
use crate::coordinator::presence::News;
use crate::protocol::HostId;
use crate::protocol::api::{
    Code, Event, Heartbeat, HeartbeatReply, LeaseName, LeaseState, LeaseWord,
};
use crate::queue::command::{Command, Envelope, Outcome};
use crate::queue::{Idempotency, LeaseRef, Renewed};
use crate::support::clock::{Clock, SystemClock, Timestamp};

/// A lease given longer ago than this has reached its host, or never will.
const SETTLED: Duration = Duration::from_secs(10);

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new().routes(routes!(heartbeat))
}

/// Returns how far the clock that says `now` is ahead of this machine's, in milliseconds.
pub fn offset(now: Timestamp) -> i64 {
    now.as_millis()
        .saturating_sub(SystemClock.now().as_millis())
}

/// Takes note that a host is alive, and prolongs what it works on.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/heartbeat", params(("id" = String, Path)),
    request_body = Heartbeat, responses((status = 200, body = HeartbeatReply))
)]
async fn heartbeat(
    State(room): Shared,
    Path(id): Path<String>,
    key: Key,
    Body { value, bytes }: Body<Heartbeat>,
) -> Result<Reply<HeartbeatReply>, Refused> {
    let id = wire::host_id(&id)?;
    if let Some(instance) = &value.instance
        && room.presence.is_foreign(&id, instance)
    {
        return Err(Refused::new(
            Code::HostIdInUse,
            format!("host id {id} is used by another host"),
        ));
    }
    let now = room.now();
    let news = News {
        weight: None,
        blocked: value.blocked,
        facts: value.facts,
        clock_offset_ms: value.now.map(offset),
        names_leases: value.leases.is_some(),
    };
    let back = room
        .presence
        .heartbeat(&id, news, now)
        .ok_or_else(|| wire::unknown_host(&id))?;
    if back {
        came_back(&room, &id, now);
    }
    let envelope = key.envelope(&bytes, now, room.settings.idempotency_ttl);
    let (leases, replayed) = match &value.leases {
        Some(named) => {
            room.leases.named(&id);
            let states = renew(&room, &id, named, envelope).await?;
            give_back(&room, &id, named, now).await?;
            states
        }
        // The original's hosts count what they hold: what they work on by our books goes on.
        None if value.active_leases.is_some_and(|count| count >= 1.0) || !key.is_none() => {
            let held = worked_on_by_books(&room, &id, value.active_leases).await?;
            let replayed = renew(&room, &id, &held, envelope).await?.1;
            (Vec::new(), replayed)
        }
        None => (Vec::new(), false),
    };
    let body = HeartbeatReply {
        host: hosts::record(&room, &id)?,
        leases,
        now: value.now.map(|_| SystemClock.now()),
    };
    Ok(Reply::keyed(body, replayed))
}

/// Returns what a host works on that names nothing itself: at most the newest of its leases, because
/// such a host runs one job at a time, and not even that if it asked for work since. Renewing more
/// would keep a job for ever whose only completion was lost. If the host believes to hold more than
/// the mirror shows, the queue is asked: a lease that is not renewed here is renewed nowhere.
async fn worked_on_by_books(
    room: &Room,
    id: &HostId,
    believed: Option<f64>,
) -> Result<Vec<LeaseName>, Refused> {
    if believed.is_some_and(|count| count > room.leases.of(id).len() as f64) {
        let held = room.queue.leases_of(id.clone()).await;
        room.leases
            .found(id, &held.map_err(|error| room.refuse(error))?);
    }
    let newest = room
        .leases
        .of(id)
        .into_iter()
        .max_by_key(|held| (held.since, held.job))
        .filter(|held| !held.left);
    Ok(newest
        .map(|held| LeaseName {
            job_id: held.job,
            attempt: held.attempt,
            lease_token: held.token,
        })
        .into_iter()
        .collect())
}

/// Tells that a silent host is heard of again.
pub fn came_back(room: &Room, id: &HostId, now: Timestamp) {
    room.tell(Event::HostChanged {
        at: now,
        host_id: id.clone(),
        state: "live".to_owned(),
    });
}

/// Prolongs the named leases where that is worth a write, and says where each stands. The second
/// value tells that a remembered answer was given.
///
/// # Errors
/// When the key was used otherwise or the queue fails.
pub async fn renew(
    room: &Room,
    id: &HostId,
    named: &[LeaseName],
    idempotency: Option<Idempotency>,
) -> Result<(Vec<LeaseState>, bool), Refused> {
    let now = room.now();
    let keyed = idempotency.is_some();
    let mut states = Vec::with_capacity(named.len());
    let mut asked: Vec<(usize, LeaseRef)> = Vec::new();
    for name in named {
        let held = room.leases.get(name.job_id).filter(|held| {
            held.token == name.lease_token && held.attempt == name.attempt && held.host == *id
        });
        match held {
            Some(held)
                if !keyed
                    && !held.cancel
                    && !is_due(held.expires_at, now, room.settings.lease_for) =>
            {
                states.push(state(name, LeaseWord::Held, held.expires_at.since(now)));
            }
            Some(_) | None => {
                asked.push((states.len(), wire::lease(name)));
                states.push(state(name, LeaseWord::Lost, Duration::ZERO));
            }
        }
    }
    if asked.is_empty() && !keyed {
        return Ok((states, false));
    }
    let (answers, replayed) = ask(room, now, &asked, idempotency).await?;
    let mut unknown = false;
    for ((at, _), answer) in asked.iter().zip(answers) {
        let (Some(name), Some(slot)) = (named.get(*at), states.get_mut(*at)) else {
            continue;
        };
        match answer {
            Renewed::Until(until) => {
                unknown |= room.leases.get(name.job_id).is_none();
                room.leases.renewed(name.job_id, name.lease_token, until);
                *slot = state(name, LeaseWord::Held, until.since(now));
            }
            Renewed::Cancel {
                until,
                reason,
                grace,
            } => {
                *slot = LeaseState {
                    reason,
                    grace_ms: grace.and_then(|span| u64::try_from(span.as_millis()).ok()),
                    ..state(name, LeaseWord::Cancel, until.since(now))
                };
            }
            Renewed::LeaseLost => {
                room.leases.over(name.job_id, name.lease_token);
            }
        }
    }
    if unknown {
        let held = room.queue.leases_of(id.clone()).await;
        room.leases
            .found(id, &held.map_err(|error| room.refuse(error))?);
    }
    Ok((states, replayed))
}

async fn ask(
    room: &Room,
    now: Timestamp,
    asked: &[(usize, LeaseRef)],
    idempotency: Option<Idempotency>,
) -> Result<(Vec<Renewed>, bool), Refused> {
    let leases = asked.iter().map(|(_, lease)| lease.clone()).collect();
    let envelope = Envelope {
        command: Command::Renew { now, leases },
        idempotency,
    };
    let applied = room.queue.apply(envelope).await;
    let applied = applied.map_err(|error| room.refuse(error))?;
    match applied.outcome {
        Outcome::Renewed(answers) => Ok((answers, applied.replayed)),
        _ => Err(Refused::new(
            Code::KeyReuse,
            "the idempotency key was used for another kind of request",
        )),
    }
}

fn state(name: &LeaseName, word: LeaseWord, left: Duration) -> LeaseState {
    LeaseState {
        job_id: name.job_id,
        attempt: name.attempt,
        state: word,
        lease_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        reason: None,
        grace_ms: None,
    }
}

/// Gives back what the host was given and does not know of: the answer to its claim was lost.
async fn give_back(
    room: &Room,
    id: &HostId,
    named: &[LeaseName],
    now: Timestamp,
) -> Result<(), Refused> {
    let forgotten: Vec<_> = room
        .leases
        .of(id)
        .into_iter()
        .filter(|held| now.since(held.since) > SETTLED)
        .filter(|held| !named.iter().any(|name| name.lease_token == held.token))
        .collect();
    if forgotten.is_empty() {
        return Ok(());
    }
    tracing::info!(host = %id, leases = forgotten.len(), "leases that never arrived go back");
    let held = named.iter().map(wire::lease).collect();
    room.queue
        .give_back(id.clone(), held, SETTLED)
        .await
        .map_err(|error| room.refuse(error))?;
    for held in forgotten {
        room.leases.over(held.job, held.token);
    }
    Ok(())
}
