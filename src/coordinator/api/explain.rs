//! Why a job is where it is: for each host the first reason why it does not run there.

use std::sync::Arc;

use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::Refused;
use super::reply::Reply;
use super::{Shared, hosts, wire};
use crate::coordinator::Room;
use crate::protocol::api::{Explained, HostMode, HostRecord, HostState, HostVerdict};
use crate::protocol::{AttemptEnd, AttemptRecord, JobRecord, JobStatus, Requirement};
use crate::support::clock::Timestamp;

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new().routes(routes!(explain))
}

/// Why a job waits.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/explain", params(("id" = String, Path)),
    responses((status = 200, body = Explained))
)]
async fn explain(State(room): Shared, Path(id): Path<String>) -> Result<Reply<Explained>, Refused> {
    let id = wire::job_id(&id)?;
    let view = room
        .queue
        .job(id)
        .await
        .map_err(|error| room.refuse(error))?;
    let view = view.ok_or_else(|| wire::unknown_job(id))?;
    let job = &view.job;
    let hosts = if job.status.is_final() {
        Vec::new()
    } else {
        let avoided = view
            .last
            .as_ref()
            .and_then(|last| avoided(&room, job, last));
        hosts::all(&room)
            .iter()
            .map(|host| verdict(job, host, avoided))
            .collect()
    };
    Ok(Reply::new(Explained {
        job_id: id,
        summary: summary(&room, job, &hosts),
        hosts,
    }))
}

/// Returns who lost the job last, if others go first for now.
fn avoided<'a>(room: &Room, job: &JobRecord, last: &'a AttemptRecord) -> Option<&'a AttemptRecord> {
    let lost = last.end == Some(AttemptEnd::Lost);
    let until = last.ended_at?.plus(room.settings.lease_for);
    let others = || room.presence.other_can(&last.host, &job.requirement);
    (lost && room.now() < until && others()).then_some(last)
}

fn verdict(job: &JobRecord, host: &HostRecord, avoided: Option<&AttemptRecord>) -> HostVerdict {
    let held = job.assigned_host_id.as_ref() == Some(&host.id);
    let why_not = why_not(&job.requirement, host).or_else(|| {
        avoided
            .filter(|last| last.host == host.id)
            .map(|_| "it lost the last try: others go first for a while".to_owned())
    });
    let (can_run, why) = match why_not {
        _ if held => (true, "it runs the job".to_owned()),
        Some(why) => (false, why),
        None => (true, "it can take the job".to_owned()),
    };
    HostVerdict {
        host_id: host.id.clone(),
        name: host.name.clone(),
        can_run,
        why,
    }
}

fn why_not(wanted: &Requirement, host: &HostRecord) -> Option<String> {
    let unknown = host.capabilities.is_empty();
    if let (true, Some(blocked)) = (unknown, &host.blocked) {
        // Nobody knows yet what it can do.
        return Some(format!("it takes no work: {blocked}"));
    }
    let missing: Vec<&str> = wanted
        .required_capabilities
        .iter()
        .filter(|one| !host.capabilities.contains(one))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        return Some(format!("it lacks the capability {}", missing.join(", ")));
    }
    let label = wanted
        .labels
        .iter()
        .find(|(key, value)| host.labels.get(*key) != Some(value));
    if let Some((key, value)) = label {
        return Some(format!("it is not labelled {key}={value}"));
    }
    let names = [host.id.as_str(), host.name.as_str()];
    if !wanted.is_met_by(names.into_iter(), &host.capabilities, &host.labels) {
        return Some(format!("only for {}", wanted.hosts.join(", ")));
    }
    match host.state {
        HostState::Live => {}
        HostState::Stale => {
            return Some("it was not heard of for 15 s, or its connections have ended".to_owned());
        }
        HostState::Down => return Some("it is down".to_owned()),
        HostState::Unknown => return Some("it is not known whether it is there".to_owned()),
    }
    match host.mode {
        HostMode::Active => {}
        HostMode::Draining => return Some("it is draining".to_owned()),
        HostMode::Paused => return Some("it is paused".to_owned()),
    }
    if let Some(blocked) = &host.blocked {
        return Some(format!("it takes no work: {blocked}"));
    }
    if host.active_leases >= u32::from(host.max_parallel) {
        return Some(format!(
            "it is full: {} of {} jobs",
            host.active_leases, host.max_parallel
        ));
    }
    None
}

fn summary(room: &Room, job: &JobRecord, hosts: &[HostVerdict]) -> String {
    match job.status {
        JobStatus::Completed => "it has ended well".to_owned(),
        JobStatus::Failed => match job.reason {
            Some(reason) => format!("it has failed: {}", reason.as_str()),
            None => "it has failed".to_owned(),
        },
        JobStatus::Leased => match &job.assigned_host_id {
            Some(host) if job.cancel.is_some() => {
                format!("{host} was told to end it")
            }
            Some(host) => format!("{host} runs it, attempt {}", job.attempts),
            None => "it runs".to_owned(),
        },
        JobStatus::Queued => waiting(room.is_paused(), room.now(), job, hosts),
    }
}

fn waiting(paused: bool, now: Timestamp, job: &JobRecord, hosts: &[HostVerdict]) -> String {
    if let Some(at) = job.not_before.filter(|at| *at > now) {
        return format!("it may not start before {at}");
    }
    if paused {
        return "the queue is paused".to_owned();
    }
    if let Some(pin) = job.requirement.pin() {
        let known = || {
            hosts
                .iter()
                .filter(|host| host.name == pin || host.host_id.as_str() == pin)
        };
        // Of several with one name the one that can run it counts.
        match known().find(|host| host.can_run).or(known().next()) {
            None => return format!("there is no host {pin}"),
            Some(host) if !host.can_run => return format!("{pin}: {}", host.why),
            Some(_) => {}
        }
    }
    if hosts.is_empty() {
        return "there is no host".to_owned();
    }
    match hosts.iter().filter(|host| host.can_run).count() {
        0 => "no host can take it now".to_owned(),
        1 => "one host can take it: it is behind others, or about to start".to_owned(),
        able => format!("{able} hosts can take it: it is behind others, or about to start"),
    }
}
