//! Which host gets the next one, and which hosts are avoided because it failed there.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::ServiceHost;
use super::life::{is_live, is_over};
use crate::protocol::HostId;
use crate::protocol::api::service::{FailedOn, Form};
use crate::protocol::api::{Restart, ServiceRecord};
use crate::support::clock::Timestamp;

/// For this long a host is avoided by the generation that failed on it, if there is another one.
pub const AVOIDED_FOR: Duration = Duration::from_secs(5 * 60);
/// If there is no other host, the same one gets it again after this long, doubled with every failure.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// So many failures are remembered of a service.
const MOST_FAILURES: usize = 32;

/// Remembers that `generation` failed on `host`.
pub fn note_failure(service: &mut ServiceRecord, host: &HostId, generation: u64, now: Timestamp) {
    let failures = &mut service.kept.failures;
    failures.push(FailedOn {
        host_id: host.clone(),
        generation,
        at: now,
    });
    let surplus = failures.len().saturating_sub(MOST_FAILURES);
    failures.drain(..surplus);
}

/// How a host stands to a generation that failed on it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It did not fail there, or long ago.
    Good,
    /// It did, but may be tried again if there is no other host.
    Doubtful,
    /// It did just now.
    Paused,
}

/// Tells how `host` stands to `generation` of `service`.
pub fn standing(
    service: &ServiceRecord,
    host: &HostId,
    generation: u64,
    now: Timestamp,
) -> Standing {
    let failures = service.kept.failures.iter();
    let mine = failures.filter(|one| one.host_id == *host && one.generation == generation);
    let (count, last) = mine.fold((0_u32, None), |(count, last), one| {
        (count + 1, last.max(Some(one.at)))
    });
    let Some(last) = last else {
        return Standing::Good;
    };
    let doubled = 2_u32.saturating_pow(count.saturating_sub(1));
    let pause = FIRST_PAUSE.saturating_mul(doubled).min(AVOIDED_FOR);
    if last.plus(AVOIDED_FOR) <= now {
        Standing::Good
    } else if last.plus(pause) <= now {
        Standing::Doubtful
    } else {
        Standing::Paused
    }
}

/// What is asked of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// The best one there is.
    Any,
    /// One that has nothing of the service and on which it did not fail lately.
    Free,
}

/// The hosts, and how much each has.
pub struct Board<'a> {
    hosts: &'a [ServiceHost],
    load: BTreeMap<HostId, usize>,
}

impl<'a> Board<'a> {
    /// Returns the hosts with what they have of `services`.
    pub fn new(hosts: &'a [ServiceHost], services: &[ServiceRecord]) -> Self {
        let mut load = BTreeMap::new();
        let all = services.iter().flat_map(|service| &service.assignments);
        for one in all.filter(|one| !is_over(one)) {
            *load.entry(one.host_id.clone()).or_default() += 1;
        }
        Self { hosts, load }
    }

    /// Returns what is known of a host.
    pub fn host(&self, id: &HostId) -> Option<&ServiceHost> {
        self.hosts.iter().find(|host| host.id == *id)
    }

    /// Notes that a host got one more.
    pub fn add(&mut self, id: &HostId) {
        *self.load.entry(id.clone()).or_default() += 1;
    }

    /// Returns the host that should run one more of `form`.
    pub fn pick(
        &self,
        service: &ServiceRecord,
        form: &Form,
        room: Room,
        now: Timestamp,
    ) -> Option<HostId> {
        let able = self.hosts.iter().filter(|host| {
            let mut needed = form.required_capabilities.iter();
            host.alive
                && host.takes_new
                && host.syncs
                && needed.all(|needed| host.capabilities.contains(needed))
        });
        able.filter_map(|host| {
            let standing = standing(service, &host.id, form.generation, now);
            if form.restart == Restart::Never && has_failed_on(service, &host.id, form.generation) {
                // It would be started again after all, only by us.
                return None;
            }
            let of_service = count(service, &host.id, |_| true);
            let fits = match room {
                Room::Any => standing != Standing::Paused,
                Room::Free => standing == Standing::Good && of_service == 0,
            };
            let of_form = count(service, &host.id, |generation| {
                generation == form.generation
            });
            let load = self.load.get(&host.id).copied().unwrap_or(0);
            fits.then_some((standing, of_form, of_service, load, &host.id))
        })
        .min()
        .map(|(.., id)| id.clone())
    }
}

fn has_failed_on(service: &ServiceRecord, host: &HostId, generation: u64) -> bool {
    let mut failures = service.kept.failures.iter();
    failures.any(|one| one.host_id == *host && one.generation == generation)
}

fn count(service: &ServiceRecord, host: &HostId, wanted: impl Fn(u64) -> bool) -> usize {
    let here = |one: &&_| is_live(one) && one.host_id == *host && wanted(one.generation);
    service.assignments.iter().filter(here).count()
}

/// Returns the place in the record of the one that is missed least among those that `members` picks: one that does
/// not serve, then one on a host that is to be left alone, then on the most crowded host, then the newest.
pub fn victim(
    service: &ServiceRecord,
    board: &Board<'_>,
    members: impl Fn(&crate::protocol::api::Assignment) -> bool,
) -> Option<usize> {
    let all = service.assignments.iter().enumerate();
    all.filter(|(_, one)| is_live(one) && members(one))
        .max_by_key(|(index, one)| {
            let takes_new = board.host(&one.host_id).is_some_and(|host| host.takes_new);
            let crowd = count(service, &one.host_id, |_| true);
            (
                Reverse(super::life::is_serving(one)),
                Reverse(takes_new),
                crowd,
                *index,
            )
        })
        .map(|(index, _)| index)
}
