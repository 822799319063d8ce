//! Whatever people ask and hosts say, in whatever order: the promises hold, and in the end all is as it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::life::{done, is_live, is_over, is_serving};
use super::*;
use crate::protocol::api::{
    Assignment, AssignmentReport, ChangeService, DeployService, Phase, ReportService, Restart,
    ServiceStatus, Want,
};
use crate::support::clock::Timestamp;

const NODE: &str = "n";
/// Hosts 0 to 3 can run services, 4 cannot, and 5 is one of the original.
const HOSTS: usize = 6;

struct World {
    services: Vec<ServiceRecord>,
    hosts: Vec<ServiceHost>,
    /// What each host runs.
    running: Vec<BTreeMap<String, Phase>>,
    now: Timestamp,
    given: BTreeSet<String>,
    commands: u128,
}

fn serving(service: &ServiceRecord, hosts: &[ServiceHost]) -> usize {
    let alive = |one: &&Assignment| {
        let mut hosts = hosts.iter();
        hosts.any(|host| host.id == one.host_id && host.alive)
    };
    let all = service.assignments.iter().filter(|one| is_serving(one));
    all.filter(alive).count()
}

impl World {
    fn new() -> Self {
        let host = |number: usize| ServiceHost {
            id: HostId::new(format!("h{number}")).unwrap(),
            capabilities: match number {
                4 => Vec::new(),
                _ => vec!["service-host".to_owned()],
            },
            alive: true,
            takes_new: true,
            syncs: number != 5,
            leaving: false,
            heard_out: true,
        };
        Self {
            services: Vec::new(),
            hosts: (0..HOSTS).map(host).collect(),
            running: vec![BTreeMap::new(); HOSTS],
            now: Timestamp::from_millis(1_700_000_000_000),
            given: BTreeSet::new(),
            commands: 0,
        }
    }

    fn put(&mut self, service: ServiceRecord) {
        self.services.retain(|one| one.id != service.id);
        if !is_gone(&service) {
            self.services.push(service);
        }
        self.services
            .sort_by_key(|one| (one.created_at, one.id.clone()));
    }

    fn deploy(&mut self, choice: u8, more: u8) {
        self.commands += 1;
        let ask = DeployService {
            name: format!("s{}", choice % 2),
            command: format!("run-{}", more % 3),
            by_name: true,
            replicas: Some(u32::from(choice / 2 % 4) + 1),
            restart: more.is_multiple_of(7).then_some(Restart::OnFailure),
            ..DeployService::default()
        };
        let before = replaced_by(&ask, &self.services).cloned();
        let fresh = format!("svc_{}", self.commands);
        let id = before.as_ref().map_or(fresh, |before| before.id.clone());
        let after = deploy(&ask, &id, before.as_ref(), NODE, self.now);
        let again = deploy(&ask, &id, Some(&after), NODE, self.now);
        assert_eq!(again, after, "the same again changes nothing");
        self.put(after);
    }

    fn change(&mut self, choice: u8, more: u8) {
        let Some(index) = usize::from(choice).checked_rem(self.services.len()) else {
            return;
        };
        let asked = match more % 5 {
            0 => ChangeService::Stop,
            1 => ChangeService::Start,
            2 => ChangeService::Restart,
            3 => ChangeService::Remove,
            _ => ChangeService::Scale {
                replicas: u32::from(more / 5 % 5),
            },
        };
        let after = change(&self.services[index], asked, NODE, self.now);
        self.put(after);
    }

    /// The host says of each of its assignments what `says` makes of what it was and what is wanted.
    fn sync(&mut self, host: usize, says: impl Fn(usize, Option<Phase>, Want) -> Option<Phase>) {
        let id = self.hosts[host].id.clone();
        let mut has = BTreeMap::new();
        for (index, one) in wanted(&self.services, &id).into_iter().enumerate() {
            let before = self.running[host].get(&one.assignment_id).copied();
            if let Some(phase) = says(index, before, one.want) {
                has.insert(one.assignment_id, phase);
            }
        }
        let reports: Vec<_> = has
            .iter()
            .map(|(id, phase)| AssignmentReport {
                assignment_id: id.clone(),
                phase: *phase,
                port: Some(3100),
                endpoint: Some("http://10.0.0.1:3100".to_owned()),
                error: None,
                last_output: None,
                restarts: 0,
            })
            .collect();
        self.running[host] = has;
        for service in self.services.clone() {
            let Some(after) = sync(&service, &id, &reports, NODE, self.now) else {
                continue;
            };
            assert_eq!(
                sync(&after, &id, &reports, NODE, self.now),
                None,
                "once is enough"
            );
            for one in &after.assignments {
                assert!(one.endpoint.is_none() || is_serving(one), "{after:?}");
            }
            self.put(after);
        }
    }

    /// The original's host asks for a service, and says of what it has that it is so.
    fn old_host(&mut self, status: ServiceStatus) {
        let host = self.hosts[5].clone();
        match claim(&self.services, &host.id, &host.capabilities, NODE, self.now) {
            Claimed::Taken(service) => self.put(*service),
            Claimed::Held(_) | Claimed::No => {}
        }
        let told = ReportService {
            host_id: host.id,
            status,
            endpoint: None,
            error: None,
        };
        for service in self.services.clone() {
            if let Some(after) = report(&service, &told, NODE, self.now) {
                self.put(after);
            }
        }
    }

    fn place(&mut self) {
        self.commands += 1;
        let seed = (self.commands << 64).to_be_bytes();
        let before = self.services.clone();
        for after in place(&before, &self.hosts, seed, NODE, self.now) {
            let before = before.iter().find(|one| one.id == after.id).unwrap();
            self.check(before, &after);
            self.put(after);
        }
    }

    fn check(&mut self, before: &ServiceRecord, after: &ServiceRecord) {
        let was = |one: &Assignment| before.assignments.iter().any(|old| old.id == one.id);
        for one in after.assignments.iter().filter(|one| !was(one)) {
            assert!(self.given.insert(one.id.clone()), "given twice: {one:?}");
            let host = self.hosts.iter().find(|host| host.id == one.host_id);
            let host = host.unwrap();
            assert!(host.alive && host.takes_new && host.syncs, "{host:?}");
            assert!(!host.capabilities.is_empty(), "it cannot: {host:?}");
        }
        let wanted = |one: &&Assignment| is_live(one) && one.generation == after.generation;
        let live = after.assignments.iter().filter(wanted).count();
        assert!(live <= after.replicas as usize + 1, "too many: {after:?}");
        assert!(after.assignments.iter().filter(|one| is_over(one)).count() <= 3 + done(after));
        if after.stopped || after.removing {
            assert!(!after.assignments.iter().any(is_live), "{after:?}");
            return;
        }
        let enough = (after.replicas as usize).saturating_sub(done(after));
        let least = serving(before, &self.hosts).min(enough);
        let left = serving(after, &self.hosts);
        assert!(left >= least, "taken from service:\n{before:?}\n{after:?}");
    }

    fn step(&mut self, (kind, choice, more): (u8, u8, u8)) {
        let host = usize::from(choice) % HOSTS;
        match kind {
            0 => self.deploy(choice, more),
            1 => self.change(choice, more),
            2 => self.hosts[host].alive ^= true,
            3 => self.hosts[host].takes_new ^= true,
            4..=6 => {
                let phases = [
                    None,
                    Some(Phase::Assigned),
                    Some(Phase::Starting),
                    Some(Phase::Backoff),
                    Some(Phase::CrashLoop),
                    Some(Phase::Failed),
                    Some(Phase::Stopped),
                    Some(Phase::Draining),
                    Some(Phase::Lost),
                ];
                let pick = |index| phases[(usize::from(more) + index) % phases.len()];
                // Mostly well, or no update would ever get on.
                self.sync(host, |index, _, want| match (more % 2, want) {
                    (0, Want::Run) => Some(Phase::Ready),
                    (0, Want::Drain) => Some(Phase::Stopped),
                    (_, Want::Run | Want::Drain) => pick(index),
                });
            }
            7 => self.now = self.now.plus(Duration::from_secs(u64::from(more))),
            8 => self.old_host(match more % 3 {
                0 => ServiceStatus::Failed,
                1 => ServiceStatus::Pending,
                _ => ServiceStatus::Running,
            }),
            _ => self.place(),
        }
    }

    /// All hosts are well and do what they are told, for a while.
    fn come_to_rest(&mut self) {
        for host in &mut self.hosts {
            (host.alive, host.takes_new) = (true, true);
        }
        // What went wrong before is found out now.
        self.place();
        for service in self.services.clone() {
            if service.update_error.is_some() {
                self.put(change(&service, ChangeService::Restart, NODE, self.now));
            }
        }
        for _ in 0..120 {
            self.place();
            for host in 0..HOSTS - 1 {
                self.sync(host, |_, before, want| match (want, before) {
                    (Want::Drain, _) => Some(Phase::Stopped),
                    (Want::Run, None) => Some(Phase::Starting),
                    (Want::Run, Some(_)) => Some(Phase::Ready),
                });
            }
            self.old_host(ServiceStatus::Running);
            self.now = self.now.plus(Duration::from_secs(10));
        }
        let rest = place(&self.services, &self.hosts, [0; 16], NODE, self.now);
        assert_eq!(rest, [], "nothing is left to do");
        for service in &self.services {
            assert!(!service.removing, "it is gone in the end: {service:?}");
            let all = service.assignments.iter().filter(|one| !is_over(one));
            assert!(
                service.stopped || service.update_error.is_none(),
                "{service:?}"
            );
            let enough = match service.stopped {
                true => 0,
                false => (service.replicas as usize).saturating_sub(done(service)),
            };
            assert_eq!(all.clone().count(), enough, "{service:?}");
            let mut hosts = BTreeSet::new();
            for one in all {
                assert!(is_serving(one), "{service:?}");
                assert_eq!(one.generation, service.generation, "{service:?}");
                assert!(
                    hosts.insert(&one.host_id),
                    "there is room for each: {service:?}"
                );
            }
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]
    #[test]
    fn any_sequence_keeps_the_promises(
        steps in proptest::collection::vec((0u8..14, 0u8..=255, 0u8..=255), 1..120)
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.come_to_rest();
    }
}
