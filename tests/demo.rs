//! The demo: every step does what it should, in time, and nothing of it stays.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use common::{World, eventually, processes_with};

/// Everything of the demo carries the directory that this world gives for temporary files.
fn nothing_is_left(world: &World) -> bool {
    let temporary = world.dir().join("tmp");
    std::fs::read_dir(&temporary).unwrap().next().is_none()
        && processes_with(&format!("SKYCLAW_SANDBOX={}", temporary.display())).is_empty()
        && processes_with(&format!("HOME={}", temporary.display())).is_empty()
}

#[test]
fn every_step_does_what_it_should() {
    let world = World::new();
    let done = world.spawn(&["demo"]).wait(Duration::from_secs(60));
    let done = done.expect_code(0);
    let out = done.out();
    for shown in [
        "$ skyclaw fleet status",
        "$ skyclaw fleet deploy --from sample-agent.sh",
        "$ skyclaw fleet dispatch 'sleep 60' --on 'sandbox[1,3]' --timeout 2s",
        "$ skyclaw fleet runs",
        "$ skyclaw fleet teardown --all --component all --purge -y",
        "sandbox2 has just lost its power",
        "pushed to /",
        "pulled as job_",
        "web\t1/1\trunning\thttp://127.0.0.1:",
        "$ skyclaw call web/health",
        "\"nodeId\"",
        "up on port ",
        "$ skyclaw fleet down",
        "$ kill -9 %1",
        "before job_",
        "after job_",
        "[sandbox3] 🦞 done:",
    ] {
        assert!(out.contains(shown), "{shown}: {done}");
    }
    assert!(nothing_is_left(&world));
    let entries: Vec<_> = std::fs::read_dir(world.home())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(entries, [".ssh"], "the home of the user is untouched");
}

#[test]
fn a_stopped_demo_leaves_nothing() {
    let world = World::new();
    let demo = world.spawn(&["demo"]);
    demo.wait_for_line("working: second 1 of 60", Duration::from_secs(30));
    demo.interrupt();
    demo.wait(Duration::from_secs(20)).expect_code(130);
    eventually(Duration::from_secs(1), || nothing_is_left(&world));
    let demo = world.spawn(&["demo"]);
    demo.wait_for_line("working: second 1 of 60", Duration::from_secs(30));
    demo.terminate();
    demo.wait(Duration::from_secs(20)).expect_code(143);
    eventually(Duration::from_secs(1), || nothing_is_left(&world));
    let demo = world.spawn(&["demo"]);
    demo.wait_for_line("pulled as job_", Duration::from_secs(60));
    demo.interrupt();
    demo.wait(Duration::from_secs(20)).expect_code(130);
    eventually(Duration::from_secs(1), || nothing_is_left(&world));
}
