//! What changes a service: people, hosts, and what readers see of it.

use std::time::Duration;

use super::*;
use crate::protocol::api::service::Speaks;
use crate::protocol::api::{
    AssignmentReport, ChangeService, DeployService, Phase, ReportService, ServiceStatus, Want,
};
use crate::support::clock::Timestamp;

pub const NODE: &str = "n";
pub const HOUR: Timestamp = Timestamp::from_millis(3_600_000);

pub fn ask(command: &str) -> DeployService {
    DeployService {
        name: "api".to_owned(),
        command: command.to_owned(),
        by_name: true,
        ..DeployService::default()
    }
}

pub fn service(command: &str, replicas: u32) -> ServiceRecord {
    let ask = DeployService {
        replicas: Some(replicas),
        ..ask(command)
    };
    deploy(&ask, "svc_1", None, NODE, HOUR)
}

pub fn host(id: &str) -> ServiceHost {
    ServiceHost {
        id: HostId::new(id).unwrap(),
        capabilities: vec!["service-host".to_owned()],
        alive: true,
        takes_new: true,
        syncs: true,
        leaving: false,
        heard_out: true,
    }
}

fn placed(service: &ServiceRecord, hosts: &[&str]) -> ServiceRecord {
    let hosts: Vec<_> = hosts.iter().map(|id| host(id)).collect();
    let all = place(std::slice::from_ref(service), &hosts, [7; 16], NODE, HOUR);
    all.into_iter().next().unwrap()
}

fn says(service: &ServiceRecord, phase: Phase) -> Vec<AssignmentReport> {
    let each = service.assignments.iter().map(|one| AssignmentReport {
        assignment_id: one.id.clone(),
        phase,
        port: Some(3100),
        endpoint: Some("http://10.0.0.1:3100".to_owned()),
        error: None,
        last_output: None,
        restarts: 0,
    });
    each.collect()
}

fn synced(service: &ServiceRecord, phase: Phase, at: Timestamp) -> Option<ServiceRecord> {
    let host = HostId::new("a").unwrap();
    sync(service, &host, &says(service, phase), NODE, at)
}

#[test]
fn a_deploy_raises_the_generation_only_if_something_else_is_to_run() {
    type Edit = fn(&mut DeployService);
    let table: [(&str, Edit, u64, bool); 11] = [
        ("the same", |_| {}, 1, false),
        (
            "no variables are none",
            |ask| ask.env = Some([].into()),
            1,
            false,
        ),
        (
            "another program",
            |ask| ask.command = "deno".into(),
            2,
            true,
        ),
        (
            "other arguments",
            |ask| ask.args = Some(vec!["x".into()]),
            2,
            true,
        ),
        (
            "a secret",
            |ask| ask.secret_env = Some([("K".into(), "v".into())].into()),
            2,
            true,
        ),
        (
            "another check",
            |ask| ask.health = Some("/up".into()),
            2,
            true,
        ),
        (
            "another protocol",
            |ask| ask.protocol = Some(Speaks::H2c),
            2,
            true,
        ),
        (
            "other hosts",
            |ask| ask.required_capabilities = Some(vec!["gpu".into()]),
            2,
            true,
        ),
        ("more of it", |ask| ask.replicas = Some(4), 1, true),
        ("more time to end", |ask| ask.drain_ms = Some(5), 1, true),
        ("another name", |ask| ask.name = "web".into(), 1, true),
    ];
    let before = placed(&service("node", 2), &["a", "b"]);
    for (what, edit, generation, changes) in table {
        let mut ask = ask("node");
        edit(&mut ask);
        let after = deploy(&ask, "svc_1", Some(&before), NODE, HOUR);
        assert_eq!(after.generation, generation, "{what}");
        assert_eq!(after != before, changes, "{what}");
        assert_eq!(after.assignments, before.assignments, "{what}");
        assert_eq!(
            after.replicas,
            ask.replicas.unwrap_or(2),
            "as before: {what}"
        );
    }
    let without_name = DeployService {
        by_name: false,
        ..ask("node")
    };
    let after = deploy(&without_name, "svc_1", Some(&before), NODE, HOUR);
    assert_eq!(after.replicas, 1, "the original's rule");
}

#[test]
fn a_name_finds_the_oldest_that_is_not_going() {
    let named = |id: &str| ServiceRecord {
        id: id.to_owned(),
        ..service("node", 1)
    };
    let going = change(&named("svc_0"), ChangeService::Remove, NODE, HOUR);
    let all = [going, named("svc_1"), named("svc_2")];
    let found = |ask: &DeployService| replaced_by(ask, &all).map(|one| one.id.clone());
    assert_eq!(found(&ask("x")).as_deref(), Some("svc_1"));
    let by_id = DeployService {
        service_id: Some("svc_9".to_owned()),
        ..ask("x")
    };
    assert_eq!(found(&by_id), None);
    let new = DeployService {
        by_name: false,
        ..ask("x")
    };
    assert_eq!(found(&new), None);
}

#[test]
fn phases_only_move_sensibly() {
    use Phase::{Assigned, Backoff, CrashLoop, Draining, Failed, Lost, Ready, Starting, Stopped};
    let table = [
        (Assigned, Starting, Some(Starting)),
        (Assigned, Ready, Some(Ready)),
        (Starting, Ready, Some(Ready)),
        (Ready, Backoff, Some(Backoff)),
        (Backoff, CrashLoop, Some(CrashLoop)),
        (CrashLoop, Ready, Some(Ready)),
        (Ready, Draining, Some(Draining)),
        (Starting, Failed, Some(Failed)),
        (Ready, Stopped, Some(Stopped)),
        (Ready, Assigned, None),
        (Ready, Lost, None),
        (Draining, Ready, None),
        (Draining, Starting, None),
        (Failed, Ready, None),
        (Stopped, Ready, None),
        (Lost, Ready, None),
    ];
    for (from, said, to) in table {
        let mut before = placed(&service("node", 1), &["a"]);
        super::life::set_phase(&mut before.assignments[0], from, HOUR);
        let later = HOUR.plus(Duration::from_secs(1));
        let after = synced(&before, said, later);
        let phase = after
            .as_ref()
            .map(|after| after.assignments[0].phase.unwrap());
        assert_eq!(phase, to, "{from:?} and then {said:?}");
        let Some(after) = after else { continue };
        let one = &after.assignments[0];
        assert_eq!(
            one.endpoint.is_some(),
            to == Some(Ready),
            "{from:?} {said:?}"
        );
        assert_eq!(
            after.kept.failures.len(),
            usize::from(matches!(said, CrashLoop | Failed))
        );
        assert_eq!(synced(&after, said, later), None, "no news");
    }
    let mut ending = placed(&service("node", 1), &["a"]);
    super::life::set_phase(&mut ending.assignments[0], Draining, HOUR);
    let ended = synced(&ending, Stopped, HOUR).unwrap();
    assert_eq!(
        ended.assignments,
        [],
        "it was to end: nobody needs to see it"
    );
}

#[test]
fn gateways_hear_which_replicas_speak_http_2_also_during_an_update() {
    let url = |service: &ServiceRecord| service.assignments[0].endpoint.clone().unwrap();
    let before = synced(&placed(&service("node", 1), &["a"]), Phase::Ready, HOUR).unwrap();
    assert_eq!(url(&before), "http://10.0.0.1:3100");
    let two = DeployService {
        protocol: Some(Speaks::H2c),
        ..ask("node")
    };
    let updated = deploy(&two, "svc_1", Some(&before), NODE, HOUR);
    let minute = HOUR.plus(Duration::from_secs(60));
    let old = synced(&updated, Phase::Ready, minute).unwrap_or(updated);
    assert_eq!(url(&old), "http://10.0.0.1:3100", "the form it has");
    let fresh = deploy(&two, "svc_1", None, NODE, HOUR);
    let fresh = synced(&placed(&fresh, &["a"]), Phase::Ready, HOUR).unwrap();
    assert_eq!(url(&fresh), "h2c://10.0.0.1:3100");
    assert_eq!(synced(&fresh, Phase::Ready, HOUR), None, "no news");
    let secure = Speaks::H2c.address("https://front:1".to_owned());
    assert_eq!(secure, "https://front:1", "they agree by themselves");
}

#[test]
fn it_starts_once_and_what_a_host_forgets_begins_anew() {
    let before = placed(&service("node", 1), &["a"]);
    let minute = Duration::from_secs(60);
    let ready = synced(&before, Phase::Ready, HOUR).unwrap();
    let down = synced(&ready, Phase::Backoff, HOUR.plus(minute)).unwrap();
    let again = synced(&down, Phase::Ready, HOUR.plus(2 * minute)).unwrap();
    assert_eq!(again.assignments[0].started_at, Some(HOUR));
    let silent =
        |service: &ServiceRecord, at| sync(service, &HostId::new("a").unwrap(), &[], NODE, at);
    let anew = silent(&again, HOUR.plus(3 * minute)).unwrap();
    assert_eq!(anew.assignments[0].phase, Some(Phase::Assigned));
    assert_eq!(anew.assignments[0].endpoint, None);
    assert_eq!(silent(&anew, HOUR.plus(4 * minute)), None);
    let stopped = change(&again, ChangeService::Stop, NODE, HOUR);
    let draining = placed(&stopped, &["a"]);
    assert_eq!(silent(&draining, HOUR), None, "it may not have heard yet");
    let gone = silent(&draining, HOUR.plus(minute)).unwrap();
    assert_eq!(gone.assignments, []);
    // Nobody speaks for another host.
    let other = HostId::new("b").unwrap();
    let said = says(&again, Phase::Failed);
    assert_eq!(sync(&again, &other, &said, NODE, HOUR), None);
}

#[test]
fn long_words_of_hosts_are_cut() {
    let before = placed(&service("node", 1), &["a"]);
    let mut said = says(&before, Phase::Failed);
    said[0].last_output = Some("é".repeat(5000) + "end");
    said[0].error = Some("é".repeat(5000));
    let after = sync(&before, &HostId::new("a").unwrap(), &said, NODE, HOUR).unwrap();
    let one = &after.assignments[0];
    let output = one.last_output.as_deref().unwrap();
    assert!(output.len() <= 4096 && output.ends_with("end"));
    assert!(one.error.as_deref().unwrap().len() <= 1024);
}

#[test]
fn hosts_get_the_form_they_run_with_its_secrets_and_readers_none() {
    let first = DeployService {
        secret_env: Some([("KEY".to_owned(), "old-secret".to_owned())].into()),
        env: Some([("A".to_owned(), "1".to_owned())].into()),
        ..ask("node")
    };
    let second = DeployService {
        secret_env: Some([("KEY".to_owned(), "new-secret".to_owned())].into()),
        ..first.clone()
    };
    let service = deploy(&first, "svc_1", None, NODE, HOUR);
    let up = synced(&placed(&service, &["a"]), Phase::Ready, HOUR).unwrap();
    let service = deploy(&second, "svc_1", Some(&up), NODE, HOUR);
    let service = placed(&service, &["a"]);
    let all = wanted(std::slice::from_ref(&service), &HostId::new("a").unwrap());
    let secrets: Vec<_> = all
        .iter()
        .map(|one| one.secret_env["KEY"].as_str())
        .collect();
    assert_eq!(secrets, ["old-secret", "new-secret"]);
    assert!(
        all.iter()
            .all(|one| one.want == Want::Run && one.ready_ms == 30_000)
    );
    assert_eq!(
        wanted(std::slice::from_ref(&service), &HostId::new("b").unwrap()),
        []
    );
    let seen = serde_json::to_string(&masked(service.clone())).unwrap();
    assert!(
        !seen.contains("secret\"") && seen.contains(r#"{"KEY":"***"}"#),
        "{seen}"
    );
    for text in [seen, format!("{service:?} {all:?} {second:?}")] {
        assert!(!text.contains("-secret"), "{text}");
    }
    let old = for_old_host(service);
    assert_eq!(old.env.unwrap()["KEY"], "new-secret");
    assert_eq!((old.secret_env, old.kept.is_empty()), (None, true));
}

#[test]
fn a_host_of_the_original_gets_all_its_services_back_after_a_restart() {
    let named = |number: u64| ServiceRecord {
        id: format!("svc_{number}"),
        ..service("node", 1)
    };
    let mut all = vec![named(1), named(2)];
    let lab = host("lab");
    let mut now = HOUR;
    let mut poll = |all: &mut Vec<ServiceRecord>| {
        now = now.plus(Duration::from_secs(2));
        let got = match claim(all, &lab.id, &lab.capabilities, NODE, now) {
            Claimed::Held(held) => *held,
            Claimed::Taken(taken) => *taken,
            Claimed::No => return None,
        };
        let told = ReportService {
            host_id: lab.id.clone(),
            status: ServiceStatus::Running,
            endpoint: None,
            error: None,
        };
        // It speaks of what it runs, and that is what it was given.
        now = now.plus(Duration::from_secs(20));
        let noted = report(&got, &told, NODE, now).unwrap();
        let id = noted.id.clone();
        *all.iter_mut().find(|one| one.id == id).unwrap() = noted;
        Some(id)
    };
    let mut given: Vec<_> = (0..2).filter_map(|_| poll(&mut all)).collect();
    assert_eq!(given, ["svc_1", "svc_2"], "one that it does not have");
    given = (0..2).filter_map(|_| poll(&mut all)).collect();
    assert_eq!(
        given,
        ["svc_1", "svc_2"],
        "then the one it was silent about"
    );
    // What fails there is free for others, and not for this one at once.
    let failed = ReportService {
        host_id: lab.id.clone(),
        status: ServiceStatus::Failed,
        endpoint: None,
        error: Some("spawn node ENOENT".to_owned()),
    };
    let now = HOUR.plus(Duration::from_secs(600));
    let free = report(&all[0], &failed, NODE, now).unwrap();
    let free = std::slice::from_ref(&free);
    let asks = |host: &ServiceHost| claim(free, &host.id, &host.capabilities, NODE, now);
    assert_eq!(asks(&lab), Claimed::No);
    assert!(matches!(asks(&host("other")), Claimed::Taken(_)));
}
