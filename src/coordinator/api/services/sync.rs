//! A host says what it runs of services, and hears what it should run, at once or as soon as there is news.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Path, State};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::{Body, LARGE};
use super::super::error::Refused;
use super::super::repeat::Repeat;
use super::super::reply::Reply;
use super::super::{Shared, heartbeats, wire};
use super::check;
use crate::coordinator::caller::Via;
use crate::coordinator::services::{endpoint, reach};
use crate::coordinator::{Caller, Room};
use crate::protocol::HostId;
use crate::protocol::api::{
    AssignmentReport, KeptLogs, Phase, ServiceRecord, SyncServices, SyncedServices,
};
use crate::queue::domain::service::wanted;

/// How long an answer may be held.
const LONGEST: Duration = Duration::from_secs(30);
/// Numbers beyond this are not exact everywhere that JSON is read.
const EXACT: u64 = (1 << 53) - 1;

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new().routes(routes!(sync))
}

/// Takes what a host says of its assignments, and answers with all that it should have: what is not named is to end.
/// With `waitMs` and the version seen last the answer waits for news of this host, but shorter than it may be silent.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/services/sync", params(("id" = String, Path)),
    request_body = SyncServices, responses((status = 200, body = SyncedServices))
)]
async fn sync(
    State(room): Shared,
    Path(id): Path<String>,
    Extension(caller): Extension<Arc<Caller>>,
    via: Option<Extension<Via>>,
    repeat: Repeat,
    Body { value, .. }: Body<SyncServices, LARGE>,
) -> Result<Reply<SyncedServices>, Refused> {
    let host = wire::host_id(&id)?;
    check::reports(&value.assignments)?;
    let now = room.now();
    let synced = room
        .presence
        .synced(&host, value.leaving, now)
        .ok_or_else(|| wire::unknown_host(&host))?;
    if synced.back {
        heartbeats::came_back(&room, &host, now);
    }
    if synced.back || synced.news {
        room.desk.wake();
    }
    let mut reports = value.assignments;
    let ways = reach::ways(&room, &caller, &host, &reports);
    let via = via.map(|Extension(via)| via);
    let members = room.members().filter(|_| room.has_others());
    let url = members.and_then(|members| match via {
        Some(via) => members.url_of(via.member),
        None => members.url(),
    });
    let machine = endpoint::machine(url, via);
    for report in &mut reports {
        endpoint::complete(report, &caller, machine.as_deref(), &ways);
    }
    let seat = room.desk.seat(&host);
    let told = tell(&room, &host, reports).await?;
    let asked = Duration::from_millis(value.wait_ms.unwrap_or(0)).min(LONGEST);
    // It must be heard again before it counts as dead, even if it sends no heartbeats beside.
    let wait = asked.min(room.settings.service_silence * 2 / 5);
    let end = Instant::now() + repeat.left(wait);
    loop {
        let news = seat.notified();
        tokio::pin!(news);
        // Before looking, or what comes between the two would be missed.
        news.as_mut().enable();
        if !room.presence.contains(&host) {
            return Err(wire::unknown_host(&host));
        }
        let answer = answer(&room, &host);
        let is_news = told || value.seen != Some(answer.version);
        if is_news || *room.closing.borrow() || Instant::now() >= end {
            let kept = answer.kept_logs.iter().map(|one| &one.assignment_id);
            let all = answer.assignments.iter().map(|one| &one.assignment_id);
            for one in all.chain(kept) {
                room.desk.relay.wanted(one, true);
            }
            return Ok(Reply::new(answer));
        }
        let _ = timeout_at(end, news).await;
    }
}

/// Has written what the host says. Tells whether it changed anything.
async fn tell(room: &Room, host: &HostId, reports: Vec<AssignmentReport>) -> Result<bool, Refused> {
    let node = room.settings.node_id.clone();
    let changed = room
        .queue
        .sync_services(host.clone(), reports, node)
        .await
        .map_err(|error| room.refuse(error))?;
    room.services_changed(&changed);
    Ok(!changed.is_empty())
}

fn answer(room: &Room, host: &HostId) -> SyncedServices {
    let services = room.desk.all();
    let mut assignments: Vec<_> = services
        .iter()
        .flat_map(|service| wanted(std::slice::from_ref(&**service), host))
        .collect();
    for one in &mut assignments {
        one.logs = room.desk.relay.wanted(&one.assignment_id, false);
    }
    // Of the content: it is the same after a restart, and nobody is woken for another's news.
    let kept_logs = kept_logs(room, host);
    let text = serde_json::to_vec(&(&assignments, &kept_logs)).unwrap_or_default();
    let digest: [u8; 32] = Sha256::digest(text).into();
    let version = digest
        .iter()
        .take(8)
        .fold(0, |version, byte| version << 8 | u64::from(*byte));
    SyncedServices {
        assignments,
        kept_logs,
        version: version & EXACT,
    }
}

/// Returns the output of what is over on this host that somebody reads.
fn kept_logs(room: &Room, host: &HostId) -> Vec<KeptLogs> {
    let mut read = room.desk.relay.read_of(host);
    if read.is_empty() {
        return Vec::new();
    }
    read.sort();
    let services = room.desk.all();
    let kept = read.iter().filter_map(|id| {
        let is_over = |service: &&Arc<ServiceRecord>| {
            let mut all = service.assignments.iter();
            all.any(|one| *one.id == **id && one.phase.is_some_and(Phase::is_over))
        };
        let service = services.iter().find(is_over)?;
        Some(KeptLogs {
            assignment_id: id.as_ref().to_owned(),
            name: service.name.clone(),
            logs: room.desk.relay.wanted(id, false)?,
        })
    });
    kept.collect()
}
