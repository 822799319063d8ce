//! The original's hosts: they claim what they run, one service at a time, and report on it again and again.
//!
//! Such a host asks for "a service" with every poll and starts it if it does not run there yet. It is given one that
//! it does not have, if one is to be had; else the one of its own that it was silent about for longest. A host that
//! was started again so gets all of its services back, one with each poll.

use std::time::Duration;

use super::choose::{self, Standing};
use super::form;
use super::life::{changed, done, is_live, is_over};
use crate::protocol::HostId;
use crate::protocol::api::{Assignment, ReportService, ServiceRecord, ServiceStatus};
use crate::support::clock::Timestamp;

/// A report that says nothing new is written down only this long after the last one.
const SAME_AGAIN: Duration = Duration::from_secs(10);

/// What a host's claim means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The host has it already; nothing changes.
    Held(Box<ServiceRecord>),
    /// The host takes a free replica.
    Taken(Box<ServiceRecord>),
    /// Nothing for this host.
    No,
}

/// Tells what the claim of a host means for `services`, oldest first.
pub fn claim(
    services: &[ServiceRecord],
    host: &HostId,
    capabilities: &[String],
    node: &str,
    now: Timestamp,
) -> Claimed {
    let mut all = services.iter();
    if let Some(free) = all.find(|one| may_take(one, host, capabilities, now)) {
        let taken = take(free, host, now);
        return Claimed::Taken(Box::new(changed(taken, node, now)));
    }
    let held = services.iter().filter_map(|service| {
        let mut mine = service.assignments.iter();
        let mine = mine.find(|one| is_held(one, host))?;
        Some((mine.updated_at, service))
    });
    match held.min_by_key(|(heard, _)| *heard) {
        Some((_, service)) => Claimed::Held(Box::new(service.clone())),
        None => Claimed::No,
    }
}

fn is_held(one: &Assignment, host: &HostId) -> bool {
    one.host_id == *host && one.phase.is_none() && is_live(one)
}

fn may_take(
    service: &ServiceRecord,
    host: &HostId,
    capabilities: &[String],
    now: Timestamp,
) -> bool {
    let mut needed = service.required_capabilities.iter();
    let halted = service.update_error.is_some();
    if service.stopped
        || service.removing
        || halted
        || !needed.all(|needed| capabilities.contains(needed))
        || choose::standing(service, host, service.generation, now) == Standing::Paused
    {
        return false;
    }
    let mut here = service.assignments.iter();
    match here.find(|one| one.host_id == *host && !is_over(one)) {
        // It runs an older form. It is the only one that can change that.
        Some(mine) => mine.phase.is_none() && mine.generation != service.generation,
        None => has_room(service),
    }
}

fn has_room(service: &ServiceRecord) -> bool {
    let live = |one: &&Assignment| is_live(one);
    let live = service.assignments.iter().filter(live).count();
    live + done(service) < service.replicas as usize
}

fn take(service: &ServiceRecord, host: &HostId, now: Timestamp) -> ServiceRecord {
    let mut after = service.clone();
    after
        .assignments
        .retain(|one| one.host_id != *host || one.phase.is_some());
    after.assignments.push(Assignment {
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
    after
}

/// Returns `service` after a host's report, the same if it says nothing new; nothing if the host does not have it.
pub fn report(
    service: &ServiceRecord,
    report: &ReportService,
    node: &str,
    now: Timestamp,
) -> Option<ServiceRecord> {
    let may_again = has_room(service) && !service.stopped && !service.removing;
    let generation = service.generation;
    let mut after = service.clone();
    let mut mine = after.assignments.iter_mut();
    let mine = mine.find(|one| {
        let heard = is_live(one) || (may_again && one.generation == generation);
        one.host_id == report.host_id && one.phase.is_none() && heard
    })?;
    let running = report.status == ServiceStatus::Running;
    let before = mine.clone();
    let speaks = form::of(service, before.generation)
        .protocol
        .unwrap_or_default();
    let endpoint = report.endpoint.clone().map(|url| speaks.address(url));
    *mine = Assignment {
        id: before.id.clone(),
        generation: before.generation,
        phase: None,
        restarts: before.restarts,
        last_output: before.last_output.clone(),
        host_id: before.host_id.clone(),
        status: report.status,
        updated_at: before.updated_at,
        endpoint: endpoint.or(before.endpoint.clone()),
        error: report.error.clone(),
        started_at: before.started_at.or(running.then_some(now)),
    };
    if *mine == before && now < before.updated_at.plus(SAME_AGAIN) {
        return Some(after);
    }
    mine.updated_at = now;
    if report.status == ServiceStatus::Failed && before.status != ServiceStatus::Failed {
        choose::note_failure(&mut after, &report.host_id, before.generation, now);
    }
    Some(changed(after, node, now))
}

/// Returns `service` as a host of the original understands it: with its secrets among its other variables.
pub fn for_old_host(mut service: ServiceRecord) -> ServiceRecord {
    if let Some(secrets) = service.secret_env.take() {
        service.env.get_or_insert_default().extend(secrets);
    }
    service.masked()
}
