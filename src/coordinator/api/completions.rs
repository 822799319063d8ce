//! Hosts hand in what came of jobs, or give them back.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Body, LARGE, Results};
use super::claims::{Got, Same};
use super::error::Refused;
use super::exchange::{Asked, exchange};
use super::key::Key;
use super::repeat::Repeat;
use super::reply::Reply;
use super::{Shared, wire};
use crate::coordinator::{Caller, Room};
use crate::protocol::api::{
    Code, Complete, CompleteMany, CompletedMany, JobReply, JobWire, LeaseName, Release,
    ReleasedMany,
};
use crate::protocol::{HostId, JobId, JobRecord, JobResult, JobStatus, Reason};
use crate::queue::command::{Command, Envelope, Outcome};
use crate::queue::{Claimed, Completion, LeaseProof, LeaseRef, Report, Verdict};
use crate::support::clock::Timestamp;

/// How many completions or releases one request may hold.
const MOST: usize = 1000;

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new()
        .routes(routes!(complete))
        .routes(routes!(complete_many))
        .routes(routes!(release))
}

/// Takes the report of an attempt.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/complete", params(("id" = String, Path)),
    request_body = Complete, responses((status = 200, body = JobReply<JobWire>))
)]
async fn complete(
    State(room): Shared,
    Path(id): Path<String>,
    key: Key,
    Results { value, bytes }: Results<Complete>,
) -> Result<Reply<JobReply<JobWire>>, Refused> {
    let host = value.host_id;
    known(&room, &host)?;
    let id = wire::job_id(&id)?;
    let lease = match (value.attempt, value.lease_token) {
        (Some(attempt), Some(token)) => LeaseRef::new(id, attempt, token),
        (None, None) => LeaseRef {
            job: id,
            proof: LeaseProof::Host(host.clone()),
        },
        (Some(_), None) | (None, Some(_)) => {
            return Err(Refused::bad("attempt and leaseToken belong together"));
        }
    };
    let now = room.now();
    let held = room.leases.get(id).filter(|held| match &lease.proof {
        LeaseProof::Token { token, .. } => held.token == *token,
        LeaseProof::Host(host) => held.host == *host,
    });
    let report = report(value.success, value.reason, value.result, now);
    let result = report.result.clone();
    let envelope = key.envelope(&bytes, now, room.settings.idempotency_ttl);
    let (completion, replayed) = room
        .queue
        .complete_keyed(lease, report, envelope)
        .await
        .map_err(|error| room.refuse(error))?;
    if completion == Completion::LeaseLost {
        return Err(lost(&room, id, &host).await);
    }
    if let Some(held) = &held {
        room.leases.over(id, held.token);
        room.relieved(&held.host);
    }
    let job = match held.and_then(|held| held.claimed) {
        Some(claimed) => after(&claimed, &completion, result, now),
        None => {
            let view = room
                .queue
                .job(id)
                .await
                .map_err(|error| room.refuse(error))?;
            view.ok_or_else(|| wire::unknown_job(id))?.job
        }
    };
    let body = JobReply {
        job: wire::job(job, &room.settings.node_id),
    };
    Ok(Reply::keyed(body, replayed))
}

fn known(room: &Room, host: &HostId) -> Result<(), Refused> {
    if room.presence.contains(host) {
        Ok(())
    } else {
        Err(wire::unknown_host(host))
    }
}

fn report(success: bool, reason: Option<Reason>, result: JobResult, now: Timestamp) -> Report {
    Report {
        verdict: if success {
            Verdict::Succeeded
        } else {
            Verdict::Failed(reason.unwrap_or(Reason::Exit))
        },
        result: JobResult {
            // Hosts of the original do not say when.
            finished_at: if result.finished_at == Timestamp::default() {
                now
            } else {
                result.finished_at
            },
            ..result
        }
        .within(crate::protocol::OUTPUT_LIMIT),
    }
}

/// Returns the job as it stands after its attempt ended, without asking for it again.
fn after(
    claimed: &Claimed,
    completion: &Completion,
    result: JobResult,
    now: Timestamp,
) -> JobRecord {
    let (status, reason, ended_at, not_before) = match completion {
        Completion::Ended { status, reason } => (*status, *reason, Some(now), None),
        Completion::Requeued { not_before } => (JobStatus::Queued, None, None, *not_before),
        Completion::LeaseLost => (JobStatus::Leased, None, None, None),
    };
    JobRecord {
        id: claimed.job,
        status,
        reason,
        created_at: claimed.created_at,
        updated_at: now,
        ended_at,
        attempts: claimed.attempt,
        requirement: claimed.requirement.clone(),
        payload: claimed.payload.clone(),
        priority: claimed.priority,
        group: claimed.group,
        submitted_by: claimed.submitted_by.clone(),
        timeout_ms: claimed.timeout_ms,
        retry_of: None,
        start_by: None,
        not_before,
        assigned_host_id: None,
        lease_expires_at: None,
        last_host_id: Some(claimed.host.clone()),
        started_at: Some(claimed.expires_at.minus(claimed.lease_for)),
        cancel: None,
        usage: None,
        error: result.error.clone(),
        result: Some(result),
    }
}

/// Says why a report changes nothing, in the original's words.
async fn lost(room: &Room, id: JobId, host: &HostId) -> Refused {
    let view = match room.queue.job(id).await {
        Ok(Some(view)) => view,
        Ok(None) => return wire::unknown_job(id),
        Err(error) => return room.refuse(error),
    };
    let job = &view.job;
    let text = match (&job.assigned_host_id, view.last) {
        (Some(holder), _) if holder != host => format!("job {id} is assigned to {holder}"),
        (Some(_), _) => format!("job {id} is leased for another attempt"),
        (None, Some(last)) if job.status.is_final() && last.host == *host => {
            format!("job {id} is not leased")
        }
        (None, _) => format!("job {id} is assigned to nobody"),
    };
    Refused::new(Code::LeaseLost, text)
}

/// Takes many reports; each stands alone.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/complete", params(("id" = String, Path)),
    request_body = CompleteMany, responses((status = 200, body = CompletedMany))
)]
async fn complete_many(
    State(room): Shared,
    Path(id): Path<String>,
    Extension(caller): Extension<Arc<Caller>>,
    (key, repeat): (Key, Repeat),
    Results { value, bytes }: Results<CompleteMany>,
) -> Result<Reply<CompletedMany>, Refused> {
    let host = wire::host_id(&id)?;
    known(&room, &host)?;
    if value.completions.len() > MOST {
        return Err(Refused::bad(format!("completions must be at most {MOST}")));
    }
    let now = room.now();
    let names: Vec<LeaseName> = value.completions.iter().map(|one| one.lease).collect();
    let reports = value.completions.into_iter().map(|one| {
        let report = report(one.success, one.reason, one.result, now);
        (wire::lease(&one.lease), report)
    });
    let envelope = key.envelope(&bytes, now, room.settings.idempotency_ttl);
    let reports = (reports.collect(), envelope);
    let (done, next) = match value.claim {
        None => {
            let done = room.queue.complete_many(reports.0, reports.1).await;
            (done, None)
        }
        Some(max) => {
            let key = key.of("claim");
            let key = key.envelope(&bytes, now, room.settings.idempotency_ttl);
            // What is said of it has changed since it registered: it hears that when it asks for work.
            let outdated = |said| room.presence.is_outdated(&host, said);
            let asked = match caller.said().is_some_and(outdated) {
                true => Asked { now: 0, ahead: 0 },
                false => Asked {
                    now: caller.at_most(max),
                    ahead: value.ahead.unwrap_or(0),
                },
            };
            let same = match key {
                Some(key) => Same::Answer(key),
                None => repeat.mark(&host).map_or(Same::No, Same::Leases),
            };
            let (done, next) = exchange(&room, &host, reports, asked, same).await?;
            (done, Some(next))
        }
    };
    let (done, replayed) = done.map_err(|error| room.refuse(error))?;
    for name in &names {
        room.leases.over(name.job_id, name.lease_token);
    }
    room.relieved(&host);
    let results = names.iter().zip(done);
    let results = results.map(|(name, completion)| wire::completion(name.job_id, completion));
    let body = CompletedMany {
        results: results.collect(),
        claimed: next.map(Got::into_many),
    };
    Ok(Reply::keyed(body, replayed))
}

/// Takes jobs back unharmed.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/release", params(("id" = String, Path)),
    request_body = Release, responses((status = 200, body = ReleasedMany))
)]
async fn release(
    State(room): Shared,
    Path(id): Path<String>,
    key: Key,
    Body { value, bytes }: Body<Release, LARGE>,
) -> Result<Reply<ReleasedMany>, Refused> {
    let host = wire::host_id(&id)?;
    known(&room, &host)?;
    if value.leases.len() > MOST {
        return Err(Refused::bad(format!("leases must be at most {MOST}")));
    }
    let now = room.now();
    let envelope = Envelope {
        command: Command::Release {
            now,
            leases: value.leases.iter().map(wire::lease).collect(),
            delay: Duration::from_millis(value.delay_ms),
        },
        idempotency: key.envelope(&bytes, now, room.settings.idempotency_ttl),
    };
    let applied = room.queue.apply(envelope).await;
    let applied = applied.map_err(|error| room.refuse(error))?;
    let Outcome::Released(done) = applied.outcome else {
        return Err(Refused::new(
            Code::KeyReuse,
            "the idempotency key was used for another kind of request",
        ));
    };
    if value.delay_ms > 0 {
        room.alarm.notify_one();
    }
    for name in &value.leases {
        room.leases.over(name.job_id, name.lease_token);
    }
    room.relieved(&host);
    let results = value
        .leases
        .iter()
        .zip(done)
        .map(|(name, completion)| wire::completion(name.job_id, completion))
        .collect();
    Ok(Reply::keyed(ReleasedMany { results }, applied.replayed))
}
