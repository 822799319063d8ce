//! What one service needs next: all of it at once, or one after the other while an older generation serves.

use super::choose::{Room, victim};
use super::form;
use super::leave;
use super::life::{done, drain, drain_all, has_failed, is_live, is_serving, set_phase};
use super::spread::{Placing, spread};
use crate::protocol::api::{Assignment, Phase, ServiceRecord};

/// Decides what `service` needs next and writes it into the record.
pub fn decide(service: &mut ServiceRecord, placing: &mut Placing<'_>) {
    // Said anew as long as it is so.
    service.update_waits = None;
    if service.stopped || service.removing {
        drain_all(service, placing.now, |_| true);
        return;
    }
    if is_rolling(service) {
        halt_if_failed(service, placing);
    }
    if let Some(generation) = form::fallback(service) {
        keep_up(service, placing, generation);
    } else if is_rolling(service) {
        roll(service, placing);
    } else {
        renew(service, placing);
    }
}

/// Tells whether an older generation is worth keeping until the wanted one is up: it serves, or did and will again.
fn is_rolling(service: &ServiceRecord) -> bool {
    service.assignments.iter().any(|one| {
        one.generation != service.generation
            && is_live(one)
            && one.phase != Some(Phase::CrashLoop)
            && (is_serving(one) || one.started_at.is_some())
    })
}

/// An update whose new form fails anywhere goes no further. What failed is shown and not tried again.
fn halt_if_failed(service: &mut ServiceRecord, placing: &Placing<'_>) {
    if service.update_error.is_some() {
        return;
    }
    let generation = service.generation;
    let failed = |one: &&Assignment| one.generation == generation && has_failed(one);
    let Some(first) = service.assignments.iter().find(failed) else {
        return;
    };
    let why = first.error.as_deref().unwrap_or("it did not stay up");
    service.update_error = Some(format!(
        "generation {generation} failed on host {}: {why}",
        first.host_id
    ));
    if form::fallback(service).is_none() {
        // Nobody remembers how the older one is run: the new one is all there is to try.
        service.update_error = None;
        return;
    }
    for one in &mut service.assignments {
        if one.generation == generation && one.phase == Some(Phase::CrashLoop) {
            set_phase(one, Phase::Failed, placing.now);
        }
    }
}

/// The latest update went wrong: what serves stays, and `generation` fills the gaps.
fn keep_up(service: &mut ServiceRecord, placing: &mut Placing<'_>, generation: u64) {
    let wanted = service.generation;
    drain_all(service, placing.now, |one| {
        one.generation == wanted && !is_serving(one)
    });
    let form = form::of(service, generation);
    let target = service.replicas as usize;
    spread(service, placing, |_| true, target, &form);
}

/// Nothing older is worth waiting for.
fn renew(service: &mut ServiceRecord, placing: &mut Placing<'_>) {
    let wanted = service.generation;
    drain_all(service, placing.now, |one| one.generation != wanted);
    let form = form::current(service);
    let target = (service.replicas as usize).saturating_sub(done(service));
    let mine = |one: &Assignment| one.generation == wanted;
    spread(service, placing, mine, target, &form);
}

/// One new one at a time; for each that is ready an older one goes.
fn roll(service: &mut ServiceRecord, placing: &mut Placing<'_>) {
    let wanted = service.generation;
    let new = |one: &Assignment| one.generation == wanted;
    let old = |one: &Assignment| one.generation != wanted;
    let target = (service.replicas as usize).saturating_sub(done(service));
    while live(service, new) > target
        && let Some(index) = victim(service, &placing.board, new)
    {
        drain(service, index, placing.now);
    }
    let ready = (service.assignments.iter())
        .filter(|one| new(one) && is_serving(one))
        .count();
    while live(service, old) > target.saturating_sub(ready)
        && let Some(index) = victim(service, &placing.board, old)
    {
        drain(service, index, placing.now);
    }
    let have = live(service, new);
    // Where lost hosts left gaps, several may begin at once.
    let missing = target.saturating_sub(have + live(service, old));
    let beginning = have.saturating_sub(ready);
    let may_begin = missing.max(1).saturating_sub(beginning);
    let form = form::current(service);
    for _ in 0..may_begin.min(target.saturating_sub(have)) {
        if !placing.add(service, &form, Room::Any) {
            service.update_waits = Some(format!(
                "generation {wanted} waits for a host that is there, takes something new and can do {}",
                form.required_capabilities.join(", ")
            ));
            break;
        }
    }
    leave::let_go(service, placing, &|_| true, target);
}

fn live(service: &ServiceRecord, members: impl Fn(&Assignment) -> bool) -> usize {
    let mine = |one: &&Assignment| is_live(one) && members(one);
    service.assignments.iter().filter(mine).count()
}
