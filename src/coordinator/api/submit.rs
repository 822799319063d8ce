//! Asking for jobs.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Body, LARGE};
use super::error::Refused;
use super::key::Key;
use super::reply::Reply;
use super::{Shared, public, wire};
use crate::coordinator::{Room, fails};
use crate::protocol::api::{
    Code, JobKind, JobReply, JobWire, SubmitJob, SubmitMany, SubmittedMany,
};
use crate::protocol::{GroupId, JobId, JobRecord, JobStatus, Payload};
use crate::queue::command::{Command, Envelope, Outcome};
use crate::queue::{Idempotency, IntoGroup, NewGroup, NewJob, Submit, Submitted};
use crate::support::clock::Timestamp;

/// How many jobs one batch may hold.
const BATCH: usize = 10_000;
/// Texts that people read and that are kept with each job.
const LONGEST_NAME: usize = 1024;

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new()
        .routes(routes!(submit))
        .routes(routes!(submit_many))
}

/// Accepts a job.
#[utoipa::path(
    post, path = "/v1/jobs", request_body = SubmitJob,
    responses((status = 200, body = JobReply<JobWire>))
)]
async fn submit(
    State(room): Shared,
    key: Key,
    Body { value, bytes }: Body<SubmitJob>,
) -> Result<Reply<JobReply<JobWire>>, Refused> {
    public::check_private(&value)?;
    one(&room, &key, &bytes, value).await
}

/// Accepts one job from whoever asked for it.
pub async fn one(
    room: &Room,
    key: &Key,
    bytes: &[u8],
    asked: SubmitJob,
) -> Result<Reply<JobReply<JobWire>>, Refused> {
    let now = room.now();
    let group = asked.group;
    let job = new_job(asked, now)?;
    room.admit(1, || same(room, key, bytes, now)).await?;
    let record = record(&job, group, now);
    let into = group.map(IntoGroup::Existing);
    let submitted = hand_in(room, key, bytes, into, vec![job], now).await?;
    let record = match submitted.jobs.first() {
        Some(id) if submitted.replayed => first_answer(room, *id, record).await?,
        Some(_) | None => record,
    };
    Ok(Reply::keyed(
        JobReply {
            job: wire::job(record, &room.settings.node_id),
        },
        submitted.replayed,
    ))
}

/// Accepts many jobs, all or none.
#[utoipa::path(
    post, path = "/v1/jobs/batch", request_body = SubmitMany,
    responses((status = 200, body = SubmittedMany))
)]
async fn submit_many(
    State(room): Shared,
    key: Key,
    Body { value, bytes }: Body<SubmitMany, LARGE>,
) -> Result<Reply<SubmittedMany>, Refused> {
    if value.jobs.is_empty() || value.jobs.len() > BATCH {
        return Err(Refused::bad(format!("jobs must be 1 to {BATCH}")));
    }
    let now = room.now();
    let group = match value.group {
        None => None,
        Some(asked) => Some(NewGroup {
            id: asked.id.unwrap_or_else(GroupId::fresh),
            kind: short("group.kind", asked.kind.unwrap_or_else(|| "batch".into()))?,
            title: short("group.title", asked.title.unwrap_or_default())?,
            parent: asked.parent,
            meta: fails::meta(asked.max_fails, asked.meta)?,
        }),
    };
    let mut jobs = Vec::with_capacity(value.jobs.len());
    let mut existing = None;
    for (at, asked) in value.jobs.into_iter().enumerate() {
        if asked.group.is_some() && (group.is_some() || at > 0 && asked.group != existing) {
            return Err(Refused::bad("all jobs of a batch belong to the same group"));
        }
        existing = asked.group;
        let job = public::check_private(&asked)
            .and_then(|()| new_job(asked, now))
            .map_err(|refused| Refused {
                text: format!("jobs[{at}]: {}", refused.text).into(),
                ..refused
            })?;
        jobs.push(job);
    }
    let count = jobs.len() as u64;
    room.admit(count, || same(&room, &key, &bytes, now)).await?;
    let id = group.as_ref().map(|group| group.id).or(existing);
    let into = group
        .map(IntoGroup::New)
        .or(existing.map(IntoGroup::Existing));
    let submitted = hand_in(&room, &key, &bytes, into, jobs, now).await?;
    let group = match submitted.jobs.first() {
        // The group made by the first request, not the one that was not made now.
        Some(first) if submitted.replayed => {
            let found = room.queue.job(*first).await;
            found
                .map_err(|error| room.refuse(error))?
                .and_then(|view| view.job.group)
        }
        Some(_) | None => id,
    };
    let body = SubmittedMany {
        ids: submitted.jobs,
        group,
    };
    Ok(Reply::keyed(body, submitted.replayed))
}

fn same(room: &Room, key: &Key, bytes: &[u8], now: Timestamp) -> Option<Idempotency> {
    key.envelope(bytes, now, room.settings.idempotency_ttl)
}

async fn hand_in(
    room: &Room,
    key: &Key,
    bytes: &[u8],
    group: Option<IntoGroup>,
    jobs: Vec<NewJob>,
    now: Timestamp,
) -> Result<Submitted, Refused> {
    for job in &jobs {
        job.check()?;
        if job.not_before.is_none() {
            room.waiting.announce(job.id, &job.requirement);
        }
    }
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let timed = jobs
        .iter()
        .any(|job| job.not_before.is_some() || job.start_by.is_some());
    let submit = Submit { group, jobs };
    let envelope = Envelope {
        command: Command::Submit { now, submit },
        idempotency: same(room, key, bytes, now),
    };
    let applied = room.queue.apply(envelope).await;
    let fresh = applied.as_ref().is_ok_and(|applied| !applied.replayed);
    if !fresh {
        for id in ids {
            room.waiting.recall(id);
        }
    }
    let applied = applied.map_err(|error| room.refuse(error))?;
    if timed {
        room.alarm.notify_one();
    }
    match applied.outcome {
        Outcome::Submitted(jobs) => Ok(Submitted {
            jobs,
            replayed: applied.replayed,
        }),
        _ => Err(Refused::new(
            Code::KeyReuse,
            "the idempotency key was used for another kind of request",
        )),
    }
}

/// Returns the job as it was when it was accepted. What was asked is the same, or the key had refused it.
async fn first_answer(room: &Room, id: JobId, record: JobRecord) -> Result<JobRecord, Refused> {
    let view = room.queue.job(id).await;
    let view = view.map_err(|error| room.refuse(error))?;
    // One that was forgotten meanwhile keeps its id, which is what matters.
    let created_at = view.map_or(record.created_at, |view| view.job.created_at);
    Ok(JobRecord {
        id,
        created_at,
        updated_at: created_at,
        ..record
    })
}

fn record(job: &NewJob, group: Option<GroupId>, now: Timestamp) -> JobRecord {
    JobRecord {
        id: job.id,
        status: JobStatus::Queued,
        reason: None,
        created_at: now,
        updated_at: now,
        ended_at: None,
        attempts: crate::protocol::AttemptNo::NONE,
        requirement: job.requirement.clone(),
        payload: job.payload.clone(),
        priority: job.priority,
        group,
        submitted_by: job.submitted_by.clone(),
        timeout_ms: job.timeout_ms,
        retry_of: None,
        start_by: job.start_by,
        not_before: job.not_before,
        assigned_host_id: None,
        lease_expires_at: None,
        last_host_id: None,
        started_at: None,
        cancel: None,
        usage: None,
        result: None,
        error: None,
    }
}

/// Reads what a job asks for.
///
/// # Errors
/// When the payload is missing, malformed or of an unknown kind.
pub fn kind_of(payload: Option<&Payload>) -> Result<JobKind, Refused> {
    /// Only what tells a missing or unknown kind from a malformed field.
    #[derive(serde::Deserialize)]
    struct Word {
        #[serde(default)]
        kind: Option<serde_json::Value>,
    }
    let Some(payload) = payload else {
        return Err(Refused::bad("payload is required"));
    };
    match serde_json::from_str::<JobKind>(payload.as_str()) {
        Ok(kind) => Ok(kind),
        Err(error) => {
            let word: Word = serde_json::from_str(payload.as_str())
                .map_err(|_| Refused::bad("payload is required"))?;
            match word.kind {
                None | Some(serde_json::Value::Null) => Err(Refused::bad("payload is required")),
                Some(serde_json::Value::String(word))
                    if JobKind::WORDS.contains(&word.as_str()) =>
                {
                    Err(Refused::bad(format!("payload: {error}")))
                }
                Some(word) => Err(Refused::new(
                    Code::UnknownKind,
                    format!("unknown job kind: {word}"),
                )),
            }
        }
    }
}

/// Returns the job that was asked for.
fn new_job(asked: SubmitJob, now: Timestamp) -> Result<NewJob, Refused> {
    let kind = kind_of(asked.payload.as_ref())?;
    let mut requirement = asked.requirement.unwrap_or_default();
    if kind.needs_its_capability() {
        let needed = kind.capability().to_owned();
        requirement.required_capabilities.push(needed);
    }
    let payload = asked.payload.unwrap_or_else(Payload::empty);
    let base = NewJob::new(payload);
    let delayed = asked
        .delay_ms
        .map(|millis| now.plus(Duration::from_millis(millis)));
    Ok(NewJob {
        id: asked.id.unwrap_or(base.id),
        requirement: requirement.normalized(),
        submitted_by: asked
            .submitted_by
            .map(|name| short("submittedBy", name))
            .transpose()?,
        priority: asked.priority.unwrap_or(base.priority),
        max_attempts: asked.max_attempts.unwrap_or(base.max_attempts),
        retries: asked.retries.unwrap_or(base.retries),
        timeout_ms: kind.timeout_ms(),
        start_by: asked.start_by,
        not_before: delayed.or(asked.not_before).filter(|at| *at > now),
        ..base
    })
}

fn short(what: &str, text: String) -> Result<String, Refused> {
    if text.len() > LONGEST_NAME {
        return Err(Refused::bad(format!(
            "{what} is longer than {LONGEST_NAME} bytes"
        )));
    }
    Ok(text)
}
