//! The controller as a process: one per user, in the background, over a restart and a changed fleet.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use skyclaw::client::HostOrder;
use skyclaw::protocol::api::HostMode;
use skyclaw::protocol::{HostId, JobStatus};

use crate::common::{FleetHost, eventually};
use crate::place::{Place, SOON, out};

#[test]
fn there_is_one_at_a_time() {
    let Some(mut place) = Place::ready(&["web1"], 1) else {
        return;
    };
    let pid = place.controller.as_ref().unwrap().pid();
    for args in [&["fleet", "up"][..], &["fleet", "up", "--detach"]] {
        let second = place.bed.run(args);
        assert_eq!(second.code, 1, "{second}");
        assert!(
            second
                .err()
                .contains(&format!("a controller runs already: process {pid}")),
            "{second}"
        );
    }
    let down = place.bed.run(&["fleet", "down"]);
    assert_eq!(down.code, 0, "{down}");
    assert_eq!(place.controller.take().unwrap().wait(SOON).code, 0);
    let none = place.bed.run(&["fleet", "down", "--json"]);
    assert_eq!(
        (none.code, none.json()["stopped"].is_null()),
        (0, true),
        "{none}"
    );
}

#[test]
fn its_database_has_no_other_coordinator() {
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    place.up(&[]);
    let db = place.state("controller.db").display().to_string();
    let served = place.bed.run(&["coordinator", "--port", "0", "--db", &db]);
    assert_eq!(served.code, 1, "{served}");
    let why = "is served by another coordinator";
    assert!(served.err().contains(why), "{served}");
    // Nor the other way round.
    let down = place.bed.run(&["fleet", "down"]);
    assert_eq!(down.code, 0, "{down}");
    let coordinator = place
        .bed
        .world
        .spawn(&["coordinator", "--port", "0", "--db", &db]);
    coordinator.wait_for_line(" listening on http://", SOON);
    let up = place.bed.run(&["fleet", "up", "--port", "0"]);
    assert_eq!(up.code, 1, "{up}");
    assert!(up.err().contains(why), "{up}");
}

#[test]
fn a_token_of_only_commas_is_none() {
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    let up = place
        .bed
        .world
        .command(&["fleet", "up", "--port", "0"])
        .env("SKYCLAW_TOKEN", ",")
        .output()
        .unwrap();
    assert_eq!(up.status.code(), Some(2), "{up:?}");
    let file = place.state("controller.token");
    std::fs::write(&file, ",,\n").unwrap();
    place.up(&[]);
    assert_eq!(place.token().len(), 64);
}

#[test]
fn in_the_background_it_serves_before_it_says_so() {
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    let up = place.bed.run(&["fleet", "up", "--port", "0", "--detach"]);
    assert_eq!(up.code, 0, "{up}");
    let text = up.out();
    let url = text
        .split_whitespace()
        .find(|word| word.starts_with("http://"));
    place.url = url.unwrap().trim_end_matches(';').to_owned();
    assert!(text.contains("controller.log"), "{text}");
    place.wait_for_hosts(1);
    assert_eq!(out(&place.wait(place.sh(None, "echo there"))), "there\n");
    let log = place.state("controller.log");
    assert_eq!(log.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let down = place.bed.run(&["fleet", "down"]);
    assert_eq!(down.code, 0, "{down}");
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(
        said.contains("web1: ready") && said.contains("controller ended"),
        "{said}"
    );
}

#[test]
fn a_start_that_fails_shows_why() {
    let Some(place) = Place::with(&["web1"], 1) else {
        return;
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for args in [
        &["fleet", "up", "--port", &port][..],
        &["fleet", "up", "--detach", "--port", &port],
    ] {
        let up = place.bed.run(args);
        assert_eq!(up.code, 1, "{up}");
        let why = format!("listen on 127.0.0.1 port {port}");
        assert!(up.err().contains(&why), "{up}");
    }
}

#[test]
fn killed_and_started_again_it_goes_on() {
    let Some(mut place) = Place::ready(&["web1", "web2", "web3"], 2) else {
        return;
    };
    let paused = HostId::new("web2").unwrap();
    let pausing = async { place.client().order_host(&paused, HostOrder::Pause).await };
    place.block_on(pausing).unwrap();
    let (begun, go) = (place.file("begun"), place.file("go"));
    let script = format!("echo x >> {begun}; while [ ! -e {go} ]; do sleep 0.05; done; echo done");
    let running = place.sh(Some("web1"), &script);
    place.made("begun");
    let waiting: Vec<_> = (0..5)
        .map(|n| place.sh(Some("web1"), &format!("echo {n}")))
        .collect();
    let killed = place.controller.take().unwrap();
    killed.kill9();
    killed.wait(SOON);
    // What ran goes with it, so that it never runs twice at once.
    place.bed.assert_no_task_within(SOON);
    std::fs::write(&go, "").unwrap();
    // Meanwhile one host has left the fleet.
    place.fleet(&["web1", "web2"], |host| host.with("slots", 2));
    place.up(&[]);
    place.wait_for_hosts(2);
    let hosts = place.hosts();
    let modes: Vec<_> = hosts
        .iter()
        .map(|host| (host.name.as_str(), host.mode))
        .collect();
    let as_before = [("web1", HostMode::Active), ("web2", HostMode::Paused)];
    assert_eq!(modes, as_before, "what people have decided stays");
    for (n, job) in waiting.iter().enumerate() {
        assert_eq!(out(&place.wait(*job)), format!("{n}\n"));
    }
    let again = place.wait(running);
    assert_eq!(
        (again.status, again.attempts.get()),
        (JobStatus::Completed, 2)
    );
    assert_eq!(out(&again), "done\n");
}

#[test]
fn a_changed_fleet_file_is_read_again() {
    let Some(place) = Place::ready(&["web1", "web2"], 1) else {
        return;
    };
    place.fleet(&["web2", "web3"], |host: FleetHost| host.with("slots", 3));
    let controller = place.controller.as_ref().unwrap();
    controller.signal(Signal::HUP);
    controller.wait_for_line("fleet file read again: 2 hosts", SOON);
    eventually(SOON, || {
        let hosts = place.hosts();
        let names: Vec<_> = hosts
            .iter()
            .filter(|host| host.blocked.is_none() && host.max_parallel == 3)
            .map(|host| host.name.as_str())
            .collect();
        hosts.len() == 2 && names == ["web2", "web3"]
    });
    assert_eq!(
        place.wait(place.sh(Some("web3"), "true")).status,
        JobStatus::Completed
    );
    // A broken one changes nothing.
    std::fs::write(place.bed.world.fleet_path(), "{").unwrap();
    controller.signal(Signal::HUP);
    controller.wait_for_error_line("the fleet file is not used", SOON);
    controller.wait_for_error_line("fleet.json:1:1: error", SOON);
    assert_eq!(
        place.wait(place.sh(Some("web3"), "true")).status,
        JobStatus::Completed
    );
}

#[test]
fn a_host_that_comes_back_waits_for_what_still_runs_there() {
    let Some(place) = Place::ready(&["web1", "web2"], 1) else {
        return;
    };
    let (begun, go) = (place.file("begun"), place.file("go"));
    let script = format!("echo x >> {begun}; while [ ! -e {go} ]; do sleep 0.05; done; echo whole");
    let running = place.sh(Some("web1"), &script);
    place.made("begun");
    let controller = place.controller.as_ref().unwrap();
    // Out, back, out and back again: whoever comes waits for all who were there before.
    for round in 0..2 {
        place.fleet(&["web2"], |host| host.with("slots", 1));
        controller.signal(Signal::HUP);
        let read = "fleet file read again: 1 hosts";
        eventually(SOON, || {
            controller.stdout_so_far().matches(read).count() > round
        });
        controller.wait_for_line("web1: finishes what it has", SOON);
        place.fleet(&["web1", "web2"], |host| host.with("slots", 1));
        controller.signal(Signal::HUP);
        let read = "fleet file read again: 2 hosts";
        eventually(SOON, || {
            controller.stdout_so_far().matches(read).count() > round
        });
    }
    let next = place.sh(Some("web1"), "echo next");
    // Long enough for a second worker to connect and take it.
    place.wait(place.sh(Some("web2"), "sleep 2"));
    assert_eq!(place.record(next).status, JobStatus::Queued);
    std::fs::write(&go, "").unwrap();
    let whole = place.wait(running);
    assert_eq!((out(&whole).as_str(), whole.attempts.get()), ("whole\n", 1));
    let next = place.wait(next);
    assert_eq!((out(&next).as_str(), next.attempts.get()), ("next\n", 1));
    assert_eq!(std::fs::read_to_string(&begun).unwrap(), "x\n");
}

#[test]
fn a_host_that_is_gone_lets_what_runs_end_however_long_it_takes() {
    let Some(mut place) = Place::with(&["web1", "web2"], 1) else {
        return;
    };
    place.up(&["--drain-ms", "200"]);
    place.wait_for_hosts(2);
    let (begun, go) = (place.file("begun"), place.file("go"));
    let script = format!("echo x >> {begun}; while [ ! -e {go} ]; do sleep 0.05; done; echo whole");
    let running = place.sh(Some("web1"), &script);
    place.made("begun");
    let leave = || {
        place.fleet(&["web2"], |host| host.with("slots", 1));
        place.controller.as_ref().unwrap().signal(Signal::HUP);
    };
    leave();
    let says_why = || {
        place.hosts().into_iter().any(|host| {
            let why = host.blocked.unwrap_or_default();
            host.name == "web1" && why.contains("what runs there may end")
        })
    };
    eventually(SOON, says_why);
    // Longer than jobs are given when the controller ends.
    place.wait(place.sh(Some("web2"), "sleep 1"));
    assert_eq!(place.record(running).status, JobStatus::Leased);
    std::fs::write(&go, "").unwrap();
    let whole = place.wait(running);
    assert_eq!((out(&whole).as_str(), whole.attempts.get()), ("whole\n", 1));
    eventually(SOON, || place.hosts().len() == 1);

    // The end of the controller is the end of what runs, also where somebody waits for it.
    place.fleet(&["web1", "web2"], |host| host.with("slots", 1));
    place.controller.as_ref().unwrap().signal(Signal::HUP);
    std::fs::remove_file(&go).unwrap();
    std::fs::remove_file(&begun).unwrap();
    place.sh(Some("web1"), &script);
    place.made("begun");
    leave();
    eventually(SOON, says_why);
    let down = place.bed.run(&["fleet", "down"]);
    assert_eq!(down.code, 0, "{down}");
    assert_eq!(place.controller.take().unwrap().wait(SOON).code, 0);
    assert!(place.bed.tasks().is_empty(), "{:?}", place.bed.tasks());
}

#[test]
fn events_as_json_and_the_unit() {
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    let unit = place
        .bed
        .run(&["fleet", "up", "web1", "--print-unit", "--port", "0"]);
    let program = std::fs::canonicalize(env!("CARGO_BIN_EXE_skyclaw")).unwrap();
    let line = format!("ExecStart={} fleet up web1 --port 0\n", program.display());
    assert!(unit.out().contains(&line), "{unit}");
    let running = place
        .bed
        .world
        .spawn(&["fleet", "up", "--port", "0", "--ndjson"]);
    let line = running.wait_for_line("\"event\":\"up\"", SOON);
    let up: serde_json::Value = serde_json::from_str(&line).unwrap();
    place.url = up["url"].as_str().unwrap().to_owned();
    running.wait_for_line("\"state\":\"push\"", SOON);
    let job = place.sh(None, "exit 3");
    place.wait(job);
    let line = running.wait_for_line("\"event\":\"ended\"", SOON);
    let ended: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ended["job"], job.to_string());
    assert_eq!(
        (&ended["host"], &ended["status"]),
        (&"web1".into(), &"failed".into())
    );
    running.terminate();
    let ended = running.wait(SOON);
    assert_eq!(ended.code, 0, "{ended}");
    let last = ended.out().lines().last().unwrap().to_owned();
    assert!(
        last.contains("\"event\":\"down\"") && last.contains("\"failed\":1"),
        "{last}"
    );
}
