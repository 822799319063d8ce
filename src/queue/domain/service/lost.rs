//! What a host that is gone had, and what is over for long enough.

use std::cmp::Reverse;
use std::time::Duration;

use super::life::{is_done, is_over, set_phase};
use super::{ServiceHost, form};
use crate::protocol::api::{Assignment, Phase, ServiceRecord};
use crate::support::clock::Timestamp;

/// The list of hosts is read before the services are: a host that is not on it may have come in between, and is
/// believed for as long as that can take.
const JUST_CAME: Duration = Duration::from_secs(2);
/// So many that are over stay in a record, for people to see.
const SHOWN: usize = 3;

/// Takes note that what dead hosts have is lost.
pub fn lose(service: &mut ServiceRecord, hosts: &[ServiceHost], now: Timestamp) {
    // What was to end anyway is not missed.
    service
        .assignments
        .retain(|one| one.phase != Some(Phase::Draining) || why_lost(one, hosts, now).is_none());
    for one in &mut service.assignments {
        if !is_over(one)
            && let Some(why) = why_lost(one, hosts, now)
        {
            set_phase(one, Phase::Lost, now);
            one.error = Some(why);
        }
    }
}

fn why_lost(one: &Assignment, hosts: &[ServiceHost], now: Timestamp) -> Option<String> {
    let id = &one.host_id;
    match hosts.iter().find(|host| host.id == *id) {
        Some(host) if host.alive => (one.phase.is_none() && host.syncs)
            .then(|| format!("host {id} was started anew and does not have it any more")),
        None if one.updated_at.plus(JUST_CAME) > now => None,
        Some(_) | None => Some(format!("host {id} was not heard of for too long")),
    }
}

/// Forgets all but the latest that are over. Those that did what they were there for stay: nothing takes their place.
pub fn tidy(service: &mut ServiceRecord) {
    let (generation, restart) = (service.generation, service.restart);
    let needed =
        |one: &Assignment| !is_over(one) || (one.generation == generation && is_done(one, restart));
    let mut over: Vec<(Reverse<Timestamp>, usize)> = (service.assignments.iter().enumerate())
        .filter(|(_, one)| !needed(one))
        .map(|(index, one)| (Reverse(one.updated_at), index))
        .collect();
    over.sort();
    let mut gone: Vec<usize> = over.into_iter().skip(SHOWN).map(|(_, at)| at).collect();
    gone.sort_unstable();
    for index in gone.into_iter().rev() {
        service.assignments.remove(index);
    }
    form::forget(service);
}
