//! The public API: jobs by key, each key within its own limits and seeing only its own jobs.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::error::Refused;
use super::key::Key;
use super::reply::Reply;
use super::{Shared, submit, wire};
use crate::coordinator::Room;
use crate::coordinator::keys::{ApiKey, PUBLIC};
use crate::protocol::api::{Code, JobKind, JobReply, JobWire, SubmitJob};
use crate::protocol::{Payload, Requirement};

/// What a payload may hold only with `:env`: it decides what the host's process sees and where it runs.
const OF_THE_HOST: [&str; 4] = ["env", "cwd", "openclawDir", "automatonDir"];

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new()
        .routes(routes!(submit_public))
        .routes(routes!(show))
}

/// Accepts a job from the owner of an API key. Only `payload` and `requirement` count.
#[utoipa::path(
    post, path = "/v1/public/jobs", request_body = SubmitJob,
    responses((status = 200, body = JobReply<JobWire>))
)]
async fn submit_public(
    State(room): Shared,
    Extension(owner): Extension<Arc<ApiKey>>,
    key: Key,
    Body { value, bytes }: Body<SubmitJob>,
) -> Result<Reply<JobReply<JobWire>>, Refused> {
    let kind = submit::kind_of(value.payload.as_ref())?;
    let requirement = allowed(&owner, value.requirement, &kind)?;
    check_payload(&owner, &kind, value.payload.as_ref())?;
    let asked = SubmitJob {
        payload: value.payload,
        requirement: Some(requirement),
        submitted_by: Some(owner.submitter.clone()),
        ..SubmitJob::default()
    };
    let key = key.of(&owner.digest);
    let reply = submit::one(&room, &key, &bytes, asked).await?;
    Ok(reply.map(|reply| JobReply {
        job: without_submitter(reply.job),
    }))
}

/// Refuses a name in a private request that only the public API gives: whoever has the API key of that
/// name would see the job.
pub fn check_private(asked: &SubmitJob) -> Result<(), Refused> {
    let name = asked.submitted_by.as_deref().unwrap_or_default();
    if name.trim_start().starts_with(PUBLIC) {
        return Err(Refused::bad(format!(
            "submittedBy must not begin with {PUBLIC}"
        )));
    }
    Ok(())
}

/// Returns what the job requires of its host: never less than one of the key's own capabilities, or
/// an empty list would reach hosts that the key is not for.
fn allowed(
    owner: &ApiKey,
    asked: Option<Requirement>,
    kind: &JobKind,
) -> Result<Requirement, Refused> {
    let mut wanted = Requirement {
        // As the original, which knows only capabilities. Hosts are not the public's to choose.
        required_capabilities: asked.unwrap_or_default().required_capabilities,
        ..Requirement::default()
    }
    .normalized()
    .required_capabilities;
    if wanted.is_empty() {
        wanted.clone_from(&owner.capabilities);
    }
    if kind.needs_its_capability() {
        wanted.push(kind.capability().to_owned());
    }
    if wanted.iter().any(|one| !owner.capabilities.contains(one)) {
        return Err(Refused::new(
            Code::Forbidden,
            "requested capabilities are not allowed for this api key",
        ));
    }
    Ok(Requirement {
        required_capabilities: wanted,
        ..Requirement::default()
    })
}

fn check_payload(owner: &ApiKey, kind: &JobKind, payload: Option<&Payload>) -> Result<(), Refused> {
    if matches!(kind, JobKind::Shell { .. }) && !owner.shell {
        return Err(Refused::new(
            Code::Forbidden,
            "shell jobs are not allowed for this api key",
        ));
    }
    if owner.env {
        return Ok(());
    }
    // The text goes to hosts as it is, and an old one reads other fields than the kind has here.
    let text = payload.map_or("{}", Payload::as_str);
    let fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| Refused::bad(error.to_string()))?;
    let given = |name: &&str| match fields.get(*name) {
        None | Some(serde_json::Value::Null) => false,
        Some(serde_json::Value::Object(map)) => !map.is_empty(),
        Some(_) => true,
    };
    match OF_THE_HOST.iter().find(|name| given(name)) {
        None => Ok(()),
        Some(name) => Err(Refused::new(
            Code::Forbidden,
            format!("{name} is not allowed for this api key"),
        )),
    }
}

fn without_submitter(mut job: JobWire) -> JobWire {
    job.job.submitted_by = None;
    job
}

/// A job of the owner of an API key.
#[utoipa::path(
    get, path = "/v1/public/jobs/{id}", params(("id" = String, Path)),
    responses((status = 200, body = JobReply<JobWire>))
)]
async fn show(
    State(room): Shared,
    Extension(owner): Extension<Arc<ApiKey>>,
    Path(id): Path<String>,
) -> Result<Reply<JobReply<JobWire>>, Refused> {
    // Others' jobs and no jobs look the same, or ids could be tried.
    let none = || Refused::new(Code::UnknownJob, "job not found");
    let id = id.parse().map_err(|_| none())?;
    let view = room
        .queue
        .job(id)
        .await
        .map_err(|error| room.refuse(error))?;
    let job = view
        .map(|view| view.job)
        .filter(|job| job.submitted_by.as_deref() == Some(&owner.submitter))
        .ok_or_else(none)?;
    Ok(Reply::new(JobReply {
        job: without_submitter(wire::job(job, &room.settings.node_id)),
    }))
}
