//! What can be said of an assignment, and how one changes. Nothing else sets a phase.

use crate::protocol::api::{Assignment, Phase, Restart, ServiceRecord, ServiceStatus};
use crate::support::clock::Timestamp;

/// Tells whether it runs or is about to, and nobody wants it to end.
pub const fn is_live(one: &Assignment) -> bool {
    match one.phase {
        None => !matches!(one.status, ServiceStatus::Failed),
        Some(
            Phase::Assigned | Phase::Starting | Phase::Ready | Phase::Backoff | Phase::CrashLoop,
        ) => true,
        Some(Phase::Draining | Phase::Failed | Phase::Stopped | Phase::Lost) => false,
    }
}

/// Tells whether nothing of it runs any more.
pub const fn is_over(one: &Assignment) -> bool {
    match one.phase {
        None => matches!(one.status, ServiceStatus::Failed),
        Some(phase) => phase.is_over(),
    }
}

/// Tells whether requests go to it.
pub const fn is_serving(one: &Assignment) -> bool {
    match one.phase {
        None => matches!(one.status, ServiceStatus::Running),
        Some(Phase::Ready) => true,
        Some(
            Phase::Assigned
            | Phase::Starting
            | Phase::Backoff
            | Phase::CrashLoop
            | Phase::Draining
            | Phase::Failed
            | Phase::Stopped
            | Phase::Lost,
        ) => false,
    }
}

/// Tells whether it failed where it is: it will not run there, or hardly.
pub const fn has_failed(one: &Assignment) -> bool {
    match one.phase {
        None => matches!(one.status, ServiceStatus::Failed),
        Some(Phase::Failed | Phase::CrashLoop) => true,
        Some(
            Phase::Assigned
            | Phase::Starting
            | Phase::Ready
            | Phase::Backoff
            | Phase::Draining
            | Phase::Stopped
            | Phase::Lost,
        ) => false,
    }
}

/// Tells whether it did what it was there for: it ended and is not to be started again, here or elsewhere.
pub const fn is_done(one: &Assignment, restart: Restart) -> bool {
    match one.phase {
        Some(Phase::Stopped) => match restart {
            Restart::Always => false,
            Restart::OnFailure | Restart::Never => true,
        },
        // One that never came up may do so on another host; `choose` gives it one try on each.
        Some(Phase::Failed) => matches!(restart, Restart::Never) && one.started_at.is_some(),
        None
        | Some(
            Phase::Assigned
            | Phase::Starting
            | Phase::Ready
            | Phase::Backoff
            | Phase::CrashLoop
            | Phase::Draining
            | Phase::Lost,
        ) => false,
    }
}

/// Returns how many of the wanted generation did what they were there for: nothing takes their place.
pub fn done(service: &ServiceRecord) -> usize {
    let done =
        |one: &&Assignment| one.generation == service.generation && is_done(one, service.restart);
    service.assignments.iter().filter(done).count()
}

/// Sets how far an assignment is.
pub fn set_phase(one: &mut Assignment, phase: Phase, now: Timestamp) {
    one.phase = Some(phase);
    one.status = phase.status();
    one.updated_at = now;
    match phase {
        Phase::Ready => one.started_at = one.started_at.or(Some(now)),
        Phase::Assigned
        | Phase::Starting
        | Phase::Backoff
        | Phase::CrashLoop
        | Phase::Draining
        | Phase::Failed
        | Phase::Stopped
        | Phase::Lost => one.endpoint = None,
    }
}

/// Has the assignment at `index` end. A host of the original cannot be told: its part is only forgotten.
pub fn drain(service: &mut ServiceRecord, index: usize, now: Timestamp) {
    let Some(one) = service.assignments.get_mut(index) else {
        return;
    };
    match one.phase {
        None => {
            service.assignments.remove(index);
        }
        Some(_) => set_phase(one, Phase::Draining, now),
    }
}

/// Has every assignment end that `unwanted` picks.
pub fn drain_all(
    service: &mut ServiceRecord,
    now: Timestamp,
    unwanted: impl Fn(&Assignment) -> bool,
) {
    service
        .assignments
        .retain(|one| one.phase.is_some() || !is_live(one) || !unwanted(one));
    for one in &mut service.assignments {
        if is_live(one) && unwanted(one) {
            set_phase(one, Phase::Draining, now);
        }
    }
}

/// Tells whether the service was removed and nothing of it is left: its record goes.
pub fn is_gone(service: &ServiceRecord) -> bool {
    service.removing && service.assignments.iter().all(is_over)
}

/// Returns `service` with the marks of a change.
pub fn changed(mut service: ServiceRecord, node: &str, now: Timestamp) -> ServiceRecord {
    let any = |status| service.assignments.iter().any(|one| one.status == status);
    let ended = service.stopped || service.removing;
    service.status = if any(ServiceStatus::Running) {
        ServiceStatus::Running
    } else if any(ServiceStatus::Pending) || (service.assignments.is_empty() && !ended) {
        ServiceStatus::Pending
    } else {
        ServiceStatus::Failed
    };
    service.updated_at = now;
    node.clone_into(&mut service.updated_by);
    service.version += 1;
    service
}
