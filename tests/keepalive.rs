//! A connection that dies without a word, and one that only has nothing to say.
//! Row 2.14.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod common;

use std::time::{Duration, Instant};

use common::{Bed, SOON};

#[test]
fn a_host_that_falls_silent_is_lost_in_keepalive_time() {
    let Some(bed) = Bed::one() else { return };
    let other = bed.world.sshd().start();
    bed.world
        .fleet(&[bed.server.fleet_host("silent"), other.fleet_host("well")]);
    let line = "echo begun; while [ -e busy ]; do sleep 0.1; done; echo done";
    for home in [bed.server.home(), other.home()] {
        std::fs::write(home.join("busy"), "").unwrap();
    }
    let running = bed.start_shell(&["--json", "--keepalive", "700ms"], line);
    common::eventually(SOON, || {
        !bed.tasks().is_empty() && !common::bed::tasks(&other).is_empty()
    });
    bed.server.freeze_connections();
    let frozen_at = Instant::now();
    std::fs::remove_file(other.home().join("busy")).unwrap();
    let document = running.wait(SOON).expect_code(1).json();
    let took = frozen_at.elapsed();
    assert!(
        took > Duration::from_secs(2) && took < Duration::from_secs(15),
        "four times 700 ms took {took:?}"
    );
    let results = document["results"].as_array().unwrap();
    let of = |name: &str| results.iter().find(|r| r["host"] == name).unwrap();
    assert_eq!(of("well")["status"], "ok", "{document}");
    let silent = of("silent");
    assert_eq!(silent["status"], "lost", "{document}");
    let error = silent["error"].as_str().unwrap();
    assert!(
        error.contains("nothing came from the host for 2"),
        "{error}"
    );
    let hint = silent["hint"].as_str().unwrap();
    assert!(hint.contains("ClientAliveInterval"), "{hint}");
    // Nothing was left to do there, so nobody went there again.
    assert_eq!(bed.server.log().matches("Accepted publickey").count(), 1);
}

#[test]
fn every_verb_that_connects_notices_silence() {
    let Some(bed) = Bed::one() else { return };
    // The task's own end is of no use as a sign of life: its sshd cannot tell us.
    let args = [
        "fleet",
        "exec",
        "--keepalive",
        "300ms",
        "--shell",
        "echo begun; sleep 300",
    ];
    let running = bed.world.spawn(&args);
    running.wait_for_line("begun", SOON);
    bed.server.freeze_connections();
    let done = running.wait(SOON).expect_code(255);
    assert!(done.err().contains("web1: lost: connection lost"), "{done}");
    for verb in ["status", "deploy", "teardown", "dispatch", "exec"] {
        let help = bed.run(&["fleet", verb, "--help"]).expect_code(0).out();
        assert!(help.contains("--keepalive <SPAN>"), "{verb}: {help}");
    }
}

#[test]
fn a_task_that_says_nothing_is_not_a_dead_host() {
    let Some(bed) = Bed::one() else { return };
    let done = bed.shell(&["--keepalive", "100ms"], "sleep 1; echo awake");
    assert_eq!(done.expect_code(0).out(), "awake\n");
    let done = bed.shell(&["--keepalive", "0"], "echo awake");
    assert_eq!(done.expect_code(0).out(), "awake\n");
}
