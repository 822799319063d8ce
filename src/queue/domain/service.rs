//! How a service changes: asked for, taken by a host, reported on.
//!
//! These are the original's rules, for hosts and gateways of the original; what keeps a service
//! alive when its host dies does not exist yet.

use crate::protocol::HostId;
use crate::protocol::api::{
    Assignment, DeployService, ReportService, ServiceRecord, ServiceStatus,
};
use crate::support::clock::Timestamp;

/// Returns the service that `ask` describes under `id`. One that was there keeps the time of its
/// first request and loses its assignments.
pub fn deploy(
    ask: &DeployService,
    id: &str,
    before: Option<&ServiceRecord>,
    node: &str,
    now: Timestamp,
) -> ServiceRecord {
    let mut wanted: Vec<String> = match &ask.required_capabilities {
        Some(wanted) => wanted.iter().map(|word| word.trim().to_owned()).collect(),
        None => vec!["service-host".to_owned()],
    };
    wanted.retain(|word| !word.is_empty());
    wanted.sort();
    wanted.dedup();
    ServiceRecord {
        id: id.to_owned(),
        name: ask.name.trim().to_owned(),
        command: ask.command.trim().to_owned(),
        args: ask.args.clone().unwrap_or_default(),
        cwd: ask.cwd.clone(),
        env: ask.env.clone(),
        replicas: ask.replicas.unwrap_or(1).max(1),
        required_capabilities: wanted,
        status: ServiceStatus::Pending,
        created_at: before.map_or(now, |before| before.created_at),
        updated_at: now,
        updated_by: node.to_owned(),
        version: before.map_or(1, |before| before.version + 1),
        assignments: Vec::new(),
        generation: before.map_or(1, |before| before.generation + 1),
        secret_env: ask.secret_env.clone(),
        health: ask.health.clone(),
        restart: ask.restart.unwrap_or_default(),
        ready_ms: ask.ready_ms,
        drain_ms: ask.drain_ms,
        stopped: false,
        update_error: None,
    }
}

/// What a host's claim means for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The host has it already; nothing changes.
    Held,
    /// The host takes a free replica.
    Taken(Box<ServiceRecord>),
    /// Not for this host.
    No,
}

/// Tells what the claim of a host means for `service`.
pub fn claim(
    service: &ServiceRecord,
    host: &HostId,
    capabilities: &[String],
    node: &str,
    now: Timestamp,
) -> Claimed {
    if let Some(mine) = service.assignments.iter().find(|one| one.host_id == *host) {
        return match mine.status {
            ServiceStatus::Pending | ServiceStatus::Running => Claimed::Held,
            ServiceStatus::Failed => Claimed::No,
        };
    }
    let capable = service
        .required_capabilities
        .iter()
        .all(|wanted| capabilities.contains(wanted));
    let taken = service
        .assignments
        .iter()
        .filter(|one| one.status != ServiceStatus::Failed)
        .count();
    if !capable || taken >= service.replicas as usize {
        return Claimed::No;
    }
    let mut service = service.clone();
    service.assignments.push(Assignment {
        id: String::new(),
        generation: service.generation,
        phase: None,
        restarts: 0,
        last_output: None,
        host_id: host.clone(),
        status: ServiceStatus::Pending,
        updated_at: now,
        endpoint: None,
        error: None,
        started_at: None,
    });
    Claimed::Taken(Box::new(changed(service, node, now)))
}

/// Returns `service` after a host's report; nothing if the host does not have it.
pub fn report(
    service: &ServiceRecord,
    report: &ReportService,
    node: &str,
    now: Timestamp,
) -> Option<ServiceRecord> {
    let mut service = service.clone();
    let mine = service
        .assignments
        .iter_mut()
        .find(|one| one.host_id == report.host_id)?;
    let running = report.status == ServiceStatus::Running;
    *mine = Assignment {
        id: mine.id.clone(),
        generation: mine.generation,
        phase: None,
        restarts: mine.restarts,
        last_output: mine.last_output.take(),
        host_id: report.host_id.clone(),
        status: report.status,
        updated_at: now,
        endpoint: report.endpoint.clone().or(mine.endpoint.take()),
        error: report.error.clone(),
        started_at: mine.started_at.or(running.then_some(now)),
    };
    Some(changed(service, node, now))
}

fn changed(mut service: ServiceRecord, node: &str, now: Timestamp) -> ServiceRecord {
    let any = |status| service.assignments.iter().any(|one| one.status == status);
    service.status = if any(ServiceStatus::Running) {
        ServiceStatus::Running
    } else if any(ServiceStatus::Pending) {
        ServiceStatus::Pending
    } else {
        ServiceStatus::Failed
    };
    service.updated_at = now;
    node.clone_into(&mut service.updated_by);
    service.version += 1;
    service
}
