//! Hosts ask for work, at once or in an open request.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::error::Refused;
use super::key::Key;
use super::repeat::Repeat;
use super::reply::Reply;
use super::{Shared, heartbeats, wire};
use crate::coordinator::dispatch::give_back;
use crate::coordinator::presence::Known;
use crate::coordinator::waiting::{Place, Wake};
use crate::coordinator::{Caller, Room};
use crate::protocol::HostId;
use crate::protocol::api::{Claim, ClaimedMany, ClaimedOne, Code};
use crate::queue::{ClaimMark, ClaimRequest, Claimant, Claimed, Idempotency};
use crate::support::ids;

/// How long an answer may be held.
const LONGEST: Duration = Duration::from_secs(30);
/// How many jobs one claim may give.
pub(super) const MOST: u16 = 1000;
/// For so long after the start waits end a little early, each by another span: hosts that all came
/// at the same moment must not all come again at the same moment.
const SPREAD_FOR: Duration = Duration::from_secs(60);
const SPREAD: Duration = Duration::from_secs(5);

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new().routes(routes!(claim))
}

/// What a claim gives that comes again.
#[derive(Debug, Clone)]
pub(super) enum Same {
    /// Whatever there is then.
    No,
    /// The answer that is remembered under a key.
    Answer(Idempotency),
    /// The leases that are still held of those that it gave.
    Leases(ClaimMark),
}

impl Same {
    const fn mark(&self) -> Option<ClaimMark> {
        match self {
            Self::Leases(mark) => Some(*mark),
            Self::No | Self::Answer(_) => None,
        }
    }
}

/// What a claim came to.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub jobs: Vec<Claimed>,
    pub paused: bool,
    pub heartbeat: bool,
    pub replayed: bool,
}

impl Got {
    pub(super) fn into_many(self) -> ClaimedMany {
        ClaimedMany {
            jobs: self.jobs.into_iter().map(wire::leased).collect(),
            paused: self.paused,
            heartbeat: self.heartbeat,
        }
    }
}

/// Gives a host work. Without `max` one job or none, as the original; with it a list.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/claim", params(("id" = String, Path)), request_body = Claim,
    responses(
        (status = 200, description = "Without `max` {\"job\"}, with it {\"jobs\"}", body = ClaimedMany),
        (status = "2XX", description = "Without `max`", body = ClaimedOne)
    )
)]
async fn claim(
    State(room): Shared,
    Path(id): Path<String>,
    Extension(caller): Extension<Arc<Caller>>,
    (key, repeat): (Key, Repeat),
    Body { value, bytes }: Body<Claim>,
) -> Result<Response, Refused> {
    let id = wire::host_id(&id)?;
    if let Some(said) = caller.said()
        && room.presence.is_outdated(&id, said)
    {
        // What is said of it has changed since: it registers again, and keeps what it has.
        return Err(wire::unknown_host(&id));
    }
    let many = value.max.is_some();
    let wait = Duration::from_millis(value.wait_ms.unwrap_or(0)).min(LONGEST);
    // A key names one answer; an open request has many possible ones, and leases that did not
    // arrive come back by the next heartbeat.
    let envelope = if wait.is_zero() {
        key.envelope(&bytes, room.now(), room.settings.idempotency_ttl)
    } else {
        None
    };
    let same = match envelope {
        Some(key) => Same::Answer(key),
        None => repeat.mark(&id).map_or(Same::No, Same::Leases),
    };
    let max = value.max.map(|max| caller.at_most(max));
    let got = get(&room, &id, max, repeat.left(wait), same).await?;
    Ok(answer(got, many))
}

fn answer(got: Got, many: bool) -> Response {
    let replayed = got.replayed;
    if many {
        return Reply::keyed(got.into_many(), replayed).into_response();
    }
    let body = ClaimedOne {
        job: got.jobs.into_iter().next().map(wire::leased),
        paused: got.paused,
    };
    Reply::keyed(body, replayed).into_response()
}

async fn get(
    room: &Arc<Room>,
    id: &HostId,
    max: Option<u16>,
    wait: Duration,
    same: Same,
) -> Result<Got, Refused> {
    let known = greet(room, id)?;
    // A host of the original runs one job at a time and asks when that is over, whatever it may run at
    // once. So nobody works on what it still holds, and that must not keep it from working: it posts
    // a completion once, and if that is lost, the lease would stand in its way for ever.
    let before = match max {
        None if !known.names_leases => Some(room.leases.of(id)),
        _ => None,
    };
    let claimant = match max {
        None if before.is_some() => known.claimant,
        // Nothing is said of free slots, so the books count.
        None => Claimant {
            limit: Some(known.max_parallel),
            ..known.claimant
        },
        Some(max) => Claimant {
            max: max.min(MOST),
            ..known.claimant
        },
    };
    // Before the queue is asked: whatever becomes ready after this raises it.
    let generation = room.waiting.generation();
    let mut got = Got::default();
    let mark = same.mark();
    if claimant.max > 0 && room.may_work(id) {
        (got.jobs, got.replayed) = claim_now(room, claimant.clone(), same).await?;
    }
    if let Some(before) = before {
        // A remembered answer gives an older lease once more.
        room.leases.left(&before, &got.jobs);
    }
    got.heartbeat = max.is_some() && room.leases.nudge(id);
    if got.jobs.is_empty() && !got.heartbeat && !wait.is_zero() {
        match hold(room, (claimant, mark), generation, wait).await {
            Wake::Work(jobs) => got.jobs = jobs,
            Wake::Heartbeat => got.heartbeat = true,
            Wake::Nothing => {}
        }
    }
    got.paused = got.jobs.is_empty() && !room.may_work(id);
    Ok(got)
}

/// Takes note that the host is there, and returns what is known of it.
pub(super) fn greet(room: &Arc<Room>, id: &HostId) -> Result<Known, Refused> {
    let now = room.now();
    let (known, back) = room
        .presence
        .contact(id, now)
        .ok_or_else(|| wire::unknown_host(id))?;
    if back {
        heartbeats::came_back(room, id, now);
    }
    Ok(known)
}

/// Claims at once. In a task of its own, so that a request that goes away meanwhile leaves nothing behind.
async fn claim_now(
    room: &Arc<Room>,
    claimant: Claimant,
    same: Same,
) -> Result<(Vec<Claimed>, bool), Refused> {
    let (tell, told) = oneshot::channel();
    let room = Arc::clone(room);
    tokio::spawn(async move {
        let request = ClaimRequest {
            claimants: vec![claimant],
            group: None,
            lease_for: room.settings.lease_for,
        };
        let named = !matches!(same, Same::No);
        let claimed = match same {
            Same::No => room.queue.claim_keyed(request, None).await,
            Same::Answer(key) => room.queue.claim_keyed(request, Some(key)).await,
            Same::Leases(mark) => {
                let claimed = room.queue.claim_once(request, vec![Some(mark)]).await;
                claimed.map(|given| (given, false))
            }
        };
        let answer = match claimed {
            Ok((given, replayed)) => {
                if !replayed {
                    room.took(&given);
                }
                Ok((given, replayed))
            }
            Err(error) => Err(room.refuse(error)),
        };
        // With a key or a name the asker will ask again and must get the same leases.
        if let Err(Ok((given, _))) = tell.send(answer)
            && !named
        {
            give_back(&room, given);
        }
    });
    told.await
        .unwrap_or_else(|_| Err(Refused::new(Code::Internal, "internal error")))
}

/// Waits for work for a while.
async fn hold(
    room: &Arc<Room>,
    (claimant, mark): (Claimant, Option<ClaimMark>),
    generation: u64,
    wait: Duration,
) -> Wake {
    let wait = if room.started.elapsed() < SPREAD_FOR {
        wait.saturating_sub(SPREAD.min(wait / 4).mul_f64(ids::fraction()))
    } else {
        wait
    };
    let host = claimant.host.clone();
    let standing = room.standing(&host);
    let entered = room.waiting.enter(claimant, mark, standing, generation);
    let Some((place, woken)) = entered else {
        return Wake::Nothing;
    };
    room.presence.waits(&host, true, room.now());
    let mut ticket = Ticket {
        room,
        host,
        place,
        is_named: mark.is_some(),
        woken,
        answered: false,
    };
    let wake = match timeout(wait, &mut ticket.woken).await {
        Ok(wake) => wake.unwrap_or(Wake::Nothing),
        // A claim may be under way for this host; its outcome must not be lost.
        Err(_) if room.waiting.expire(place) => (&mut ticket.woken).await.unwrap_or(Wake::Nothing),
        Err(_) => Wake::Nothing,
    };
    ticket.answered = true;
    wake
}

/// A place among the waiting. When the request goes away, so does the place, and what was handed
/// over in that very moment goes back.
struct Ticket<'r> {
    room: &'r Arc<Room>,
    host: HostId,
    place: Place,
    /// It will be asked for again, and the same leases are due then.
    is_named: bool,
    woken: oneshot::Receiver<Wake>,
    answered: bool,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.room.waiting.leave(self.place);
        self.room.presence.waits(&self.host, false, self.room.now());
        if !self.answered {
            self.room.presence.cut_off(&self.host);
        }
        self.woken.close();
        if let Ok(Wake::Work(given)) = self.woken.try_recv()
            && !self.is_named
        {
            give_back(self.room, given);
        }
    }
}
