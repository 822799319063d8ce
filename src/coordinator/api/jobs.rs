//! Looking at jobs, waiting for them, taking them back, running them again.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Asked, Body};
use super::error::Refused;
use super::key::Key;
use super::repeat::Repeat;
use super::reply::Reply;
use super::{Consistency, Shared, wire};
use crate::coordinator::Room;
use crate::protocol::api::{
    CancelJobs, CancelledJobs, JobAttempts, JobPage, JobReply, JobWire, Retried, RetryJobs,
};
use crate::protocol::{GroupId, HostId, JobId, JobRecord, JobStatus, Reason};
use crate::queue::{Cancel, JobFilter};

/// How long an answer may be held.
const LONGEST: Duration = Duration::from_secs(30);
/// How long a job may tidy up after a cancel: its lease lasts so much longer, also if its host is gone.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// How many ids one request may hold.
const MOST: usize = 10_000;

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(attempts))
        .routes(routes!(cancel))
        .routes(routes!(cancel_one))
        .routes(routes!(retry))
        .routes(routes!(retry_one))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Which {
    status: Option<JobStatus>,
    group: Option<GroupId>,
    host: Option<HostId>,
    submitted_by: Option<String>,
    kind: Option<String>,
    reason: Option<Reason>,
    /// Where the last page ended.
    cursor: Option<String>,
    /// 100 if not given, 500 at most.
    limit: Option<u32>,
}

/// A page of jobs: newest first, those of a group in queue order.
#[utoipa::path(
    get, path = "/v1/jobs", params(Which, Consistency), responses((status = 200, body = JobPage<JobWire>))
)]
async fn list(
    State(room): Shared,
    Asked(which): Asked<Which>,
) -> Result<Reply<JobPage<JobWire>>, Refused> {
    let from = which
        .cursor
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|_| Refused::bad("cursor is not one that was given"))?;
    let filter = JobFilter {
        group: which.group,
        status: which.status,
        reason: which.reason,
        host: which.host,
        submitted_by: which.submitted_by,
        kind: which.kind,
        oldest_first: false,
    };
    let limit = which.limit.unwrap_or(100).clamp(1, 500);
    let page = room
        .queue
        .jobs(filter, from, limit)
        .await
        .map_err(|error| room.refuse(error))?;
    Ok(Reply::new(JobPage {
        jobs: page
            .items
            .into_iter()
            .map(|view| wire::job(view.job, &room.settings.node_id))
            .collect(),
        next: page
            .next
            .and_then(|cursor| serde_json::to_string(&cursor).ok()),
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Wait {
    /// How long the answer may take if the job has not ended, in milliseconds; at most 30 000.
    wait_ms: Option<u64>,
}

/// One job. With `waitMs` the answer comes when it has ended, or when the time is over.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", params(("id" = String, Path), Wait, Consistency),
    responses((status = 200, body = JobReply<JobWire>))
)]
async fn show(
    State(room): Shared,
    Path(id): Path<String>,
    repeat: Repeat,
    Asked(wait): Asked<Wait>,
) -> Result<Reply<JobReply<JobWire>>, Refused> {
    let id = wire::job_id(&id)?;
    let wait = Duration::from_millis(wait.wait_ms.unwrap_or(0)).min(LONGEST);
    let job = ended(&room, id, repeat.left(wait)).await?;
    Ok(Reply::new(JobReply {
        job: wire::job(job, &room.settings.node_id),
    }))
}

/// Returns a job once it has ended, or as it stands when the time is over.
///
/// # Errors
/// When there is no such job or the queue fails.
pub async fn ended(room: &Room, id: JobId, wait: Duration) -> Result<JobRecord, Refused> {
    let end = Instant::now() + wait;
    let watcher = room.watch.on(id);
    loop {
        let news = watcher.news();
        tokio::pin!(news);
        // Before looking, or an end between the two would be missed.
        news.as_mut().enable();
        let job = find(room, id).await?;
        let over = job.status.is_final() || wait.is_zero() || *room.closing.borrow();
        if over || timeout_at(end, news).await.is_err() {
            return Ok(job);
        }
    }
}

async fn find(room: &Room, id: JobId) -> Result<JobRecord, Refused> {
    let view = room
        .queue
        .job(id)
        .await
        .map_err(|error| room.refuse(error))?;
    view.map(|view| view.job)
        .ok_or_else(|| wire::unknown_job(id))
}

/// Every try of a job, oldest first.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/attempts", params(("id" = String, Path), Consistency),
    responses((status = 200, body = JobAttempts))
)]
async fn attempts(
    State(room): Shared,
    Path(id): Path<String>,
) -> Result<Reply<JobAttempts>, Refused> {
    let id = wire::job_id(&id)?;
    let attempts = room.queue.attempts(id).await;
    let attempts = attempts
        .map_err(|error| room.refuse(error))?
        .ok_or_else(|| wire::unknown_job(id))?;
    let strays = room.queue.strays(id).await;
    let strays = strays.map_err(|error| room.refuse(error))?;
    Ok(Reply::new(JobAttempts {
        attempts,
        strays: strays.into_iter().map(|(_, result)| result).collect(),
    }))
}

/// Takes jobs back: waiting ones end at once, the hosts of running ones are told.
#[utoipa::path(
    post, path = "/v1/jobs/cancel", request_body = CancelJobs,
    responses((status = 200, body = CancelledJobs))
)]
async fn cancel(
    State(room): Shared,
    Body { value, .. }: Body<CancelJobs>,
) -> Result<Reply<CancelledJobs>, Refused> {
    if value.ids.len() > MOST {
        return Err(Refused::bad(format!("ids must be at most {MOST}")));
    }
    let target = match (value.group, value.ids.is_empty()) {
        (Some(group), true) => {
            let there = room.queue.group(group).await;
            if there.map_err(|error| room.refuse(error))?.is_none() {
                return Err(crate::queue::Error::NoSuchGroup(group).into());
            }
            Cancel::Group(group)
        }
        (None, false) => Cancel::Jobs(value.ids),
        (Some(_), false) | (None, true) => {
            return Err(Refused::bad("either ids or group is required"));
        }
    };
    take_back(&room, target, value.reason, value.grace_ms).await
}

/// Takes one job back.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", params(("id" = String, Path)),
    request_body = CancelJobs, responses((status = 200, body = CancelledJobs))
)]
async fn cancel_one(
    State(room): Shared,
    Path(id): Path<String>,
    Body { value, .. }: Body<CancelJobs>,
) -> Result<Reply<CancelledJobs>, Refused> {
    let id = wire::job_id(&id)?;
    find(&room, id).await?;
    take_back(&room, Cancel::Jobs(vec![id]), value.reason, value.grace_ms).await
}

async fn take_back(
    room: &Room,
    target: Cancel,
    reason: Option<String>,
    grace_ms: Option<u64>,
) -> Result<Reply<CancelledJobs>, Refused> {
    let grace = grace_ms.map(|ms| Duration::from_millis(ms).min(GRACE));
    let done = room.queue.cancel_within(target, reason, grace).await;
    let done = done.map_err(|error| room.refuse(error))?;
    Ok(Reply::new(CancelledJobs {
        ended: done.ended,
        asked: done.asked,
        already_ended: done.already_ended,
        unknown: done.unknown,
    }))
}

/// Asks for ended jobs again, as new jobs.
#[utoipa::path(
    post, path = "/v1/jobs/retry", request_body = RetryJobs,
    responses((status = 200, body = Retried))
)]
async fn retry(
    State(room): Shared,
    key: Key,
    Body { value, bytes }: Body<RetryJobs>,
) -> Result<Reply<Retried>, Refused> {
    if value.ids.is_empty() || value.ids.len() > MOST {
        return Err(Refused::bad(format!("ids must be 1 to {MOST}")));
    }
    again(&room, value.ids, &key, &bytes).await
}

/// Asks for an ended job again, as a new job.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/retry", params(("id" = String, Path)),
    responses((status = 200, body = Retried))
)]
async fn retry_one(
    State(room): Shared,
    Path(id): Path<String>,
    key: Key,
) -> Result<Reply<Retried>, Refused> {
    let id = wire::job_id(&id)?;
    find(&room, id).await?;
    again(&room, vec![id], &key, b"").await
}

async fn again(
    room: &Room,
    ids: Vec<JobId>,
    key: &Key,
    bytes: &[u8],
) -> Result<Reply<Retried>, Refused> {
    let envelope = key.envelope(bytes, room.now(), room.settings.idempotency_ttl);
    room.admit(ids.len() as u64, || envelope.clone()).await?;
    let done = room.queue.retry(ids, envelope).await;
    let (done, replayed) = done.map_err(|error| room.refuse(error))?;
    let body = Retried {
        retried: done.retried,
        not_ended: done.not_ended,
        unknown: done.unknown,
    };
    Ok(Reply::keyed(body, replayed))
}
