//! What a generation runs. Old forms are kept while they run somewhere, and the one that an update falls back to.

use super::life::{is_live, is_over, is_serving};
use crate::protocol::api::ServiceRecord;
use crate::protocol::api::service::Form;

/// Returns what the wanted generation of `service` runs.
pub fn current(service: &ServiceRecord) -> Form {
    Form {
        generation: service.generation,
        command: service.command.clone(),
        args: service.args.clone(),
        cwd: service.cwd.clone(),
        env: service.env.clone(),
        secret_env: service.secret_env.clone(),
        health: service.health.clone(),
        restart: service.restart,
        protocol: service.protocol,
        ready_ms: service.ready_ms,
        required_capabilities: service.required_capabilities.clone(),
    }
}

/// Returns what `generation` runs; the wanted form if nobody remembers.
pub fn of(service: &ServiceRecord, generation: u64) -> Form {
    let mut kept = service.kept.forms.iter();
    match kept.find(|form| form.generation == generation) {
        Some(form) if generation != service.generation => form.clone(),
        Some(_) | None => current(service),
    }
}

/// Remembers the wanted form before another one takes its place. `service` is as it was.
pub fn remember(service: &mut ServiceRecord) {
    settle(service);
    let form = current(service);
    service.kept.forms.push(form);
}

/// Takes note that the wanted generation is up and no older one is left. One that failed somewhere is never trusted.
pub fn settle(service: &mut ServiceRecord) {
    if service.update_error.is_some() {
        return;
    }
    let generation = service.generation;
    let mine = |one: &&_| is_serving(one);
    let up = service.assignments.iter().filter(mine);
    if up.clone().any(|one| one.generation == generation)
        && !service
            .assignments
            .iter()
            .any(|one| is_live(one) && one.generation != generation)
    {
        service.kept.settled = Some(generation);
    }
}

/// Returns the generation to fall back to when the latest update went wrong.
pub fn fallback(service: &ServiceRecord) -> Option<u64> {
    service.update_error.as_ref()?;
    let settled = service.kept.settled?;
    let known = |form: &Form| form.generation == settled;
    (settled != service.generation && service.kept.forms.iter().any(known)).then_some(settled)
}

/// Forgets forms and failures that concern nobody any more.
pub fn forget(service: &mut ServiceRecord) {
    let (wanted, settled) = (service.generation, service.kept.settled);
    let assignments = &service.assignments;
    service.kept.forms.retain(|form| {
        let used = assignments
            .iter()
            .any(|one| one.generation == form.generation && !is_over(one));
        form.generation != wanted && (used || settled == Some(form.generation))
    });
    service
        .kept
        .failures
        .retain(|one| one.generation == wanted || settled == Some(one.generation));
}
