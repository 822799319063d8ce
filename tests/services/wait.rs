//! Waiting for a change: what is told, and how it ends.

use serde_json::json;

use crate::common::eventually;
use crate::place::{Place, SOON};
use crate::script::{Act, ScriptedHost};

#[test]
fn a_deploy_is_waited_for_until_all_replicas_answer() {
    let place = Place::with(&["lab", "web1"]);
    let done = place
        .run(&["deploy-service", "api", "node", "--replicas", "2", "--wait"])
        .expect_code(0);
    let id = done.out().trim().to_owned();
    assert!(id.starts_with("svc_"), "only the id is on stdout: {done}");
    for host in ["lab", "web1"] {
        let line = format!("skyclaw: {host}: ready at http://192.0.2.7:3100");
        assert!(done.err().contains(&line), "{done}");
    }
    let service = place.service(&id);
    assert_eq!(service["status"], "running");
}

#[test]
fn changes_are_waited_for_to_their_ends() {
    let place = Place::with(&["lab", "web1"]);
    let id = place.says(&["deploy-service", "api", "node", "--wait"]);
    assert_eq!(
        place.says(&["service", "scale", "api", "2", "--wait"]),
        "api running 2/2"
    );
    let before = place.service(&id)["generation"].as_u64().unwrap();
    let restarted = place
        .run(&["service", "restart", "api", "--wait"])
        .expect_code(0);
    assert_eq!(restarted.out(), "api running 2/2\n");
    assert!(restarted.err().contains("the old one is "), "{restarted}");
    let after = place.service(&id);
    assert!(after["generation"].as_u64().unwrap() > before, "{after}");
    assert_eq!(
        place.says(&["service", "scale", "api", "1", "--wait"]),
        "api running 1/1"
    );
    assert_eq!(
        place.says(&["service", "stop", "api", "--wait"]),
        "api stopped"
    );
    let table = place.says(&["service", "list"]);
    assert!(table.contains("api\t0/0\tstopped\t"), "{table}");
    let started = place
        .run(&["service", "start", "api", "--wait", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(started["outcome"], "reached");
    assert_eq!(started["service"]["status"], "running");
    assert_eq!(
        place.says(&["service", "rm", "api", "--wait"]),
        "api removed"
    );
    assert_eq!(place.coordinator.get("/v1/services")["services"], json!([]));
}

#[test]
fn an_update_that_fails_says_why_and_keeps_the_old_one() {
    let place = Place::with(&["lab"]);
    let id = place.says(&["deploy-service", "api", "node", "good.js", "--wait"]);
    place.act(Act::Badly(
        "failed",
        "not ready in 30s",
        "no such module: left-pad\n",
    ));
    let failed = place
        .run(&["deploy-service", "api", "node", "bad.js", "--wait"])
        .expect_code(1);
    for part in [
        "not ready in 30s",
        "the last output on lab",
        "no such module: left-pad",
        "service logs",
    ] {
        assert!(failed.err().contains(part), "{part}: {failed}");
    }
    let service = place.service(&id);
    assert!(service["updateError"].is_string(), "{service}");
    assert_eq!(service["status"], "running", "the old one stays up");
    let table = place.says(&["service", "list"]);
    assert!(
        table.contains("api\t1/1\tupdate failed\thttp://192.0.2.7:3100\t"),
        "{table}"
    );
    // Once more, for programs.
    let failed = place
        .run(&[
            "deploy-service",
            "api",
            "node",
            "worse.js",
            "--wait",
            "--json",
        ])
        .expect_code(1);
    assert_eq!(failed.json()["outcome"], "failed");
    assert!(
        failed.json()["error"]
            .as_str()
            .unwrap()
            .contains("not ready in 30s"),
        "{failed}"
    );
}

#[test]
fn a_crash_loop_with_nowhere_else_to_go_ends_the_wait() {
    let place = Place::acting(Act::Badly("crash-loop", "exited with 3", "out of luck\n"));
    let failed = place
        .run(&["deploy-service", "api", "node", "--wait"])
        .expect_code(1);
    for part in ["again and again", "exited with 3", "out of luck"] {
        assert!(failed.err().contains(part), "{part}: {failed}");
    }
}

#[test]
fn the_wait_has_a_limit_and_can_be_left() {
    let place = Place::acting(Act::Starting);
    let late = place
        .run(&["deploy-service", "api", "node", "--wait", "--timeout", "1s"])
        .expect_code(124);
    assert!(late.err().contains("not done yet (starting)"), "{late}");
    let waiting = place.start(&["service", "restart", "api", "--wait"]);
    waiting.wait_for_error_line("starting", SOON);
    waiting.interrupt();
    let left = waiting.wait(SOON).expect_code(130);
    assert!(left.err().contains("the change of api goes on"), "{left}");
    let waiting = place.start(&["service", "restart", "api", "--wait", "--json"]);
    waiting.wait_for_error_line("starting", SOON);
    waiting.terminate();
    let left = waiting.wait(SOON).expect_code(143).json();
    assert_eq!(left["outcome"], "left");
}

#[test]
fn without_a_host_the_wait_says_what_is_missing_and_ends_when_one_comes() {
    let mut place = Place::quiet();
    let waiting = place.start(&["deploy-service", "api", "node", "--wait"]);
    let said = waiting.wait_for_error_line("replicas have a host", SOON);
    assert!(
        said.contains("0 of 1") && said.contains("service-host"),
        "{said}"
    );
    let host = ScriptedHost::start(place.coordinator.address, "late", Act::Well);
    place.hosts.push(host);
    let done = waiting.wait(SOON).expect_code(0);
    assert!(done.err().contains("late: ready"), "{done}");
    eventually(SOON, || {
        place.says(&["service", "list"]).contains("\trunning\t")
    });
}
