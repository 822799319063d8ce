//! Services from the coordinator to the process: both real.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use skyclaw::client::ServiceLogQuery;
use skyclaw::protocol::api::{
    Assignment, ChangeService, DeployService, Phase, Restart, ServiceRecord, WantedAssignment,
};

use super::get;
use super::script::{base, web};
use crate::bed::{Bed, SOON};
use crate::common::procs::assert_no_process_within;
use crate::common::{Running, holds_within};

/// Longer than a host may be silent.
const MOVED: Duration = Duration::from_secs(60);

/// The test's server as a service with this name.
fn deploy(name: &str) -> DeployService {
    let WantedAssignment {
        command,
        args,
        env,
        health,
        ..
    } = web(name);
    DeployService {
        name: name.to_owned(),
        command,
        args: Some(args),
        env: Some(env),
        health,
        by_name: true,
        ..DeployService::default()
    }
}

/// A host with this name that may run the test's server.
fn host(bed: &Bed, name: &str) -> Running {
    let base = base().to_string();
    let commands = format!("{},sh", web("x").command);
    let vars = [
        ("SKYCLAW_ALLOWED_COMMANDS", commands.as_str()),
        ("SKYCLAW_SERVICE_BASE_PORT", base.as_str()),
        ("SKYCLAW_HOST_ID", name),
    ];
    bed.host(name, &vars)
}

fn look(bed: &Bed, id: &str) -> ServiceRecord {
    bed.block_on(bed.client().service(id)).unwrap()
}

fn ready(service: &ServiceRecord) -> Vec<&Assignment> {
    let is_ready = |one: &&Assignment| one.phase == Some(Phase::Ready);
    service.assignments.iter().filter(is_ready).collect()
}

#[track_caller]
fn until(
    bed: &Bed,
    id: &str,
    within: Duration,
    holds: impl Fn(&ServiceRecord) -> bool,
) -> ServiceRecord {
    let came = holds_within(within, || holds(&look(bed, id)));
    let service = look(bed, id);
    assert!(came, "{:#?}", service.assignments);
    service
}

fn port(one: &Assignment) -> u16 {
    let endpoint = one.endpoint.as_deref().unwrap();
    endpoint.rsplit(':').next().unwrap().parse().unwrap()
}

/// The latest lines that a service printed.
fn printed(bed: &Bed, id: &str, lines: u32) -> String {
    let query = ServiceLogQuery {
        tail: Some(lines),
        ..ServiceLogQuery::default()
    };
    bed.block_on(async {
        let mut stream = bed.client().service_logs(id, &query).await.unwrap();
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await.unwrap() {
            bytes.extend(STANDARD.decode(piece.data.unwrap_or_default()).unwrap());
        }
        String::from_utf8(bytes).unwrap()
    })
}

#[test]
fn what_a_failed_one_printed_is_read_from_its_hosts_files_as_long_as_they_are_there() {
    let bed = Bed::new();
    let lab = host(&bed, "lab");
    let script = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i; done; exit 3";
    let failing = DeployService {
        command: "sh".into(),
        args: Some(vec!["-c".into(), script.into()]),
        health: None,
        restart: Some(Restart::Never),
        ..deploy("loud")
    };
    let id = bed.block_on(bed.client().deploy_service(&failing));
    let id = id.unwrap().id;
    until(&bed, &id, SOON, |service| {
        let mut all = service.assignments.iter();
        all.any(|one| one.phase == Some(Phase::Failed))
    });
    // The host has forgotten it, all but its files.
    assert!(holds_within(SOON, || {
        let known = bed.ask_host("lab", &["jobs", "--id", "lab"]);
        !known.expect_code(0).out().contains("loud")
    }));
    let text = printed(&bed, &id, 5000);
    assert!(text.starts_with("line 1\nline 2\n"), "{:.100}", text);
    assert!(text.ends_with("line 2000\n"));
    assert_eq!(printed(&bed, &id, 2), "line 1999\nline 2000\n");
    // Another life of the daemon has not kept them: what is left is what the coordinator was told.
    lab.terminate();
    lab.wait(SOON).expect_code(0);
    let _lab = host(&bed, "lab");
    assert!(holds_within(SOON, || {
        let text = printed(&bed, &id, 5000);
        text.ends_with("line 2000") && text.len() <= 4096
    }));
}

#[test]
fn a_service_is_deployed_updated_read_and_removed() {
    let bed = Bed::new();
    let _host = host(&bed, "lab");
    let first = DeployService {
        drain_ms: Some(200),
        ..deploy("web")
    };
    let id = bed
        .block_on(bed.client().deploy_service(&first))
        .unwrap()
        .id;
    let service = until(&bed, &id, SOON, |service| ready(service).len() == 1);
    let old = port(ready(&service)[0]);
    assert_eq!(get(old, "/env?TEST_SERVICE"), "web");
    get(old, "/say?a-line-to-read");

    assert_eq!(printed(&bed, &id, 1), "a-line-to-read\n");

    // The next form comes up beside the old one, which goes then.
    let mut next = first;
    next.secret_env = Some([("THE_SECRET".to_owned(), "s3cr3t-of-it".to_owned())].into());
    bed.block_on(bed.client().deploy_service(&next)).unwrap();
    let service = until(&bed, &id, SOON, |service| {
        let serving = ready(service);
        serving.len() == 1 && serving[0].generation == service.generation
    });
    let new = port(ready(&service)[0]);
    assert_ne!(new, old);
    assert_eq!(get(new, "/env?THE_SECRET"), "s3cr3t-of-it");
    assert!(
        !serde_json::to_string(&service)
            .unwrap()
            .contains("s3cr3t-of-it")
    );
    let gone = |port| move || std::net::TcpStream::connect(("127.0.0.1", port)).is_err();
    assert!(holds_within(SOON, gone(old)));

    let remove = ChangeService::Remove;
    bed.block_on(bed.client().change_service(&id, &remove))
        .unwrap();
    assert!(holds_within(SOON, || {
        bed.block_on(bed.client().service(&id)).is_err()
    }));
    assert_no_process_within(SOON, "TEST_SERVICE=web");
}

#[test]
fn a_failing_update_leaves_the_old_form_up() {
    let bed = Bed::new();
    let _host = host(&bed, "lab");
    let good = deploy("web");
    let id = bed.block_on(bed.client().deploy_service(&good)).unwrap().id;
    let service = until(&bed, &id, SOON, |service| ready(service).len() == 1);
    let port = port(ready(&service)[0]);
    let bad = DeployService {
        command: "cat".into(),
        ..good
    };
    bed.block_on(bed.client().deploy_service(&bad)).unwrap();
    let service = until(&bed, &id, SOON, |service| service.update_error.is_some());
    let why = service.update_error.unwrap();
    assert!(why.contains("command not allowed: cat"), "{why}");
    assert_eq!(get(port, "/env?TEST_SERVICE"), "web");
}

#[test]
fn a_host_that_stops_or_dies_has_its_services_taken_over() {
    let bed = Bed::new();
    let first = host(&bed, "first");
    let service = deploy("web");
    let id = bed
        .block_on(bed.client().deploy_service(&service))
        .unwrap()
        .id;
    let runs_on = |service: &ServiceRecord, host: &str| {
        let on = ready(service);
        on.iter().any(|one| one.host_id.as_str() == host)
    };
    until(&bed, &id, SOON, |service| runs_on(service, "first"));
    let second = host(&bed, "second");
    // Once it runs another one, it is known to take what comes.
    let other = DeployService {
        replicas: Some(2),
        ..deploy("other")
    };
    let other = bed.block_on(bed.client().deploy_service(&other)).unwrap();
    until(&bed, &other.id, SOON, |service| {
        runs_on(service, "first") && runs_on(service, "second")
    });
    // Who leaves says so, and the other one is up before it has gone.
    first.terminate();
    until(&bed, &id, SOON, |service| {
        assert!(!ready(service).is_empty(), "nobody serves: {service:#?}");
        runs_on(service, "second")
    });
    first.wait(SOON).expect_code(0);
    let third = host(&bed, "third");
    second.kill9();
    second.wait(SOON);
    let service = until(&bed, &id, MOVED, |service| runs_on(service, "third"));
    let one = ready(&service)[0].clone();
    assert_eq!(get(port(&one), "/env?TEST_SERVICE"), "web");
    drop(third);
    for name in ["web", "other"] {
        assert_no_process_within(SOON, &format!("TEST_SERVICE={name}"));
    }
}
