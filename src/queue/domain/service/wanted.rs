//! What a host hears of its assignments.

use super::{form, life};
use crate::protocol::HostId;
use crate::protocol::api::service::{DRAIN_MS, READY_MS};
use crate::protocol::api::{Assignment, Phase, ServiceRecord, Want, WantedAssignment};

/// Returns all that `host` should have. With secrets: for nobody else's eyes.
pub fn wanted(services: &[ServiceRecord], host: &HostId) -> Vec<WantedAssignment> {
    let mut all = Vec::new();
    for service in services {
        for one in &service.assignments {
            if one.host_id == *host
                && !one.id.is_empty()
                && !life::is_over(one)
                && let Some(phase) = one.phase
            {
                all.push(wanted_of(service, one, phase));
            }
        }
    }
    all
}

fn wanted_of(service: &ServiceRecord, one: &Assignment, phase: Phase) -> WantedAssignment {
    let want = match phase {
        Phase::Draining => Want::Drain,
        Phase::Assigned
        | Phase::Starting
        | Phase::Ready
        | Phase::Backoff
        | Phase::CrashLoop
        | Phase::Failed
        | Phase::Stopped
        | Phase::Lost => Want::Run,
    };
    let form = form::of(service, one.generation);
    WantedAssignment {
        assignment_id: one.id.clone(),
        want,
        service_id: service.id.clone(),
        name: service.name.clone(),
        generation: one.generation,
        command: form.command,
        args: form.args,
        cwd: form.cwd,
        env: form.env.unwrap_or_default(),
        secret_env: form.secret_env.unwrap_or_default(),
        health: form.health,
        restart: form.restart,
        protocol: form.protocol,
        ready_ms: form.ready_ms.unwrap_or(READY_MS),
        drain_ms: service.drain_ms.unwrap_or(DRAIN_MS),
        logs: None,
    }
}
