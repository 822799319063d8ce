//! No task outlives its reason to run: a dead controller, a signal, a limit, a lost connection.
//! Rows 4.4, 4.5, 4.17, 4.18; pitfalls 1 to 3.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod common;

use std::time::Duration;

use common::{Bed, SOON, STUBBORN};

/// Within 5 s after the grace nothing of a task is left; the rest is for a busy machine.
const GONE: Duration = Duration::from_secs(5 + 1 + 6);

#[test]
fn a_killed_controller_leaves_nothing_on_the_host() {
    let Some(bed) = Bed::one() else { return };
    let running = bed.start_shell(&["--timeout", "1h", "--grace", "1s"], STUBBORN);
    running.wait_for_line("begun", SOON);
    bed.wait_for_stubborn();
    running.kill9();
    bed.assert_no_task_within(GONE);
    assert_eq!(running.wait(SOON).code, 137);
    common::procs::assert_no_process_within(GONE, &bed.server.marker());
}

#[test]
fn a_killed_controller_leaves_no_agent_either() {
    let Some(bed) = Bed::one() else { return };
    bed.install_picoclaw();
    let args = ["fleet", "dispatch", "slow", "--timeout", "1h"];
    let running = bed.world.spawn(&[&args[..], &["--grace", "1s"]].concat());
    running.wait_for_line("thinking", SOON);
    running.kill9();
    bed.assert_no_task_within(GONE);
}

#[test]
fn ctrl_c_asks_the_task_to_end_and_shows_what_there_was() {
    let Some(bed) = Bed::one() else { return };
    let polite = "trap 'echo bye; exit 9' TERM; echo begun; while :; do sleep 0.1; done";
    let running = bed.start_shell(&["--timeout", "1h"], polite);
    running.wait_for_line("begun", SOON);
    running.interrupt();
    let done = running.wait(SOON).expect_code(130);
    assert_eq!(done.out(), "begun\nbye\n", "{done}");
    assert!(done.err().contains("cancelled"), "{done}");
    bed.assert_no_task_within(GONE);
}

#[test]
fn ctrl_c_kills_after_the_grace() {
    let Some(bed) = Bed::one() else { return };
    let running = bed.start_shell(&["--timeout", "0", "--grace", "1s"], STUBBORN);
    running.wait_for_line("begun", SOON);
    bed.wait_for_stubborn();
    running.interrupt();
    let done = running.wait(SOON).expect_code(130);
    assert_eq!(done.out(), "begun\n", "{done}");
    bed.assert_no_task_within(GONE);
}

#[test]
fn ctrl_c_twice_leaves_at_once_and_kills() {
    let Some(bed) = Bed::one() else { return };
    let asked = "trap 'echo asked' TERM; echo begun; while :; do sleep 0.1; done";
    let running = bed.start_shell(&["--timeout", "1h", "--grace", "1h"], asked);
    running.wait_for_line("begun", SOON);
    running.interrupt();
    running.wait_for_line("asked", SOON);
    running.interrupt();
    // Far below the grace; the rest is for a busy machine.
    running.wait(Duration::from_secs(15)).expect_code(130);
    bed.assert_no_task_within(Duration::from_secs(10));
}

#[test]
fn ctrl_c_starts_nothing_new_and_every_task_is_accounted_for() {
    let Some(bed) = Bed::one() else { return };
    let tasks = "touch began-1; echo begun; sleep 300\ntouch began-2\ntouch began-3\n";
    let list = bed.world.dir().join("tasks");
    std::fs::write(&list, tasks).unwrap();
    let list = list.display().to_string();
    let running = bed.world.spawn(&[
        "fleet", "exec", "--ndjson", "--tasks", &list, "--grace", "1s",
    ]);
    running.wait_for_line("begun", SOON);
    running.interrupt();
    let done = running.wait(SOON).expect_code(130);
    let home = bed.server.home();
    assert!(home.join("began-1").exists());
    assert!(!home.join("began-2").exists() && !home.join("began-3").exists());
    let ends = done
        .out()
        .lines()
        .filter(|line| {
            line.contains(r#""event":"end""#) && line.contains(r#""status":"cancelled""#)
        })
        .count();
    assert_eq!(ends, 3, "{done}");
}

#[test]
fn sigterm_ends_the_same_way_with_143() {
    let Some(bed) = Bed::one() else { return };
    let running = bed.start_shell(&["--timeout", "1h", "--grace", "1s"], STUBBORN);
    running.wait_for_line("begun", SOON);
    bed.wait_for_stubborn();
    running.terminate();
    let done = running.wait(SOON).expect_code(143);
    assert_eq!(done.out(), "begun\n", "{done}");
    bed.assert_no_task_within(GONE);
}

#[test]
fn a_timeout_ends_those_who_ignore_term_hold_the_pipe_or_left_the_group() {
    let Some(bed) = Bed::one() else { return };
    let done = bed
        .shell(&["--timeout", "2s", "--grace", "1s"], STUBBORN)
        .expect_code(124);
    bed.assert_no_task_within(GONE);
    assert_eq!(done.out(), "begun\n", "{done}");
    assert!(done.err().contains("web1: timeout after "), "{done}");
}

#[test]
fn a_timeout_ends_an_agent_and_keeps_its_output() {
    let Some(bed) = Bed::one() else { return };
    bed.install_picoclaw();
    let done = bed
        .run(&["fleet", "dispatch", "slow", "--timeout", "2s", "--json"])
        .expect_code(124)
        .json();
    bed.assert_no_task_within(GONE);
    assert_eq!(done["results"][0]["status"], "timeout", "{done}");
    let said = done["results"][0]["stdout"].as_str().unwrap();
    assert!(said.ends_with("thinking\n"), "{said}");
}

#[test]
fn a_child_that_holds_the_pipe_does_not_defeat_the_timeout_of_an_agent() {
    let Some(bed) = Bed::one() else { return };
    bed.install_picoclaw();
    let done = bed.run(&["fleet", "dispatch", "orphan"]).expect_code(0);
    assert!(done.took < Duration::from_secs(30), "{done}");
    assert!(done.err().contains("pipe held"), "{done}");
    bed.assert_no_task_within(GONE);
}

#[test]
fn a_quick_task_under_a_long_limit_returns_at_once() {
    let Some(bed) = Bed::one() else { return };
    let done = bed
        .shell(&["--timeout", "1h"], "sleep 1; echo done")
        .expect_code(0);
    assert_eq!(done.out(), "done\n");
    assert!(done.took < Duration::from_secs(20), "{done}");
    common::procs::assert_no_process_within(GONE, &bed.server.marker());
}

#[test]
fn a_host_that_loses_its_power_is_lost() {
    let Some(mut bed) = Bed::one() else { return };
    let running = bed.start_shell(&["--connect-timeout", "3s"], "echo begun; sleep 300");
    running.wait_for_line("begun", SOON);
    bed.server.stop();
    let done = running.wait(SOON).expect_code(255);
    assert_eq!(done.out(), "begun\n");
    assert!(done.err().contains("web1: lost"), "{done}");
}

#[test]
fn a_server_that_starts_anew_loses_the_task_and_takes_the_next() {
    let Some(mut bed) = Bed::one() else { return };
    let list = bed.world.dir().join("tasks");
    std::fs::write(&list, "echo begun; sleep 300\necho second\n").unwrap();
    let path = list.display().to_string();
    let running = bed.world.spawn(&[
        "fleet",
        "exec",
        "--tasks",
        &path,
        "--json",
        "--connect-timeout",
        "30s",
    ]);
    common::eventually(SOON, || {
        bed.tasks().iter().any(|task| task.cmdline == "sleep 300")
    });
    bed.server.restart();
    let done = running.wait(SOON).expect_code(1).json();
    assert_eq!(done["results"][0]["status"], "lost", "{done}");
    assert_eq!(done["results"][1]["stdout"], "second\n", "{done}");
}

#[test]
fn json_is_one_document_even_after_ctrl_c() {
    let Some(bed) = Bed::one() else { return };
    let running = bed.start_shell(
        &["--json", "--grace", "1s"],
        "echo begun; touch begun; sleep 300",
    );
    common::eventually(SOON, || bed.server.home().join("begun").exists());
    running.interrupt();
    let done = running.wait(SOON).expect_code(130).json();
    assert_eq!(done["results"][0]["status"], "cancelled", "{done}");
    assert_eq!(
        (&done["results"][0]["stdout"], &done["exit"]),
        (&"begun\n".into(), &130.into()),
        "{done}"
    );
}

#[test]
fn a_terminal_that_goes_away_ends_the_run_as_sigterm_does() {
    let Some(bed) = Bed::one() else { return };
    let running = bed.start_shell(&["--grace", "1s"], "echo begun; sleep 300");
    running.wait_for_line("begun", SOON);
    running.signal(rustix::process::Signal::HUP);
    running.wait(SOON).expect_code(143);
    bed.assert_no_task_within(GONE);
}

#[test]
fn a_connection_that_is_cut_loses_its_task_but_not_the_next_ones() {
    let Some(bed) = Bed::one() else { return };
    let list = bed.world.dir().join("tasks");
    std::fs::write(&list, format!("{STUBBORN}\necho second\necho third\n")).unwrap();
    let list = list.display().to_string();
    let running = bed
        .world
        .spawn(&["fleet", "exec", "--tasks", &list, "--grace", "1s"]);
    running.wait_for_line("begun", SOON);
    bed.wait_for_stubborn();
    bed.server.drop_connections();
    let done = running.wait(SOON).expect_code(1);
    assert!(
        done.out().contains("second\n") && done.out().contains("third\n"),
        "{done}"
    );
    assert!(
        done.err().contains("1 lost") && done.err().contains("2 ok"),
        "{done}"
    );
    bed.assert_no_task_within(GONE);
}

#[test]
fn one_lost_host_among_several_makes_the_run_fail() {
    let Some(mut bed) = Bed::one() else { return };
    let other = bed.world.sshd().start();
    bed.world
        .fleet(&[bed.server.fleet_host("web1"), other.fleet_host("web2")]);
    let flags = ["--json", "--connect-timeout", "3s"];
    let running = bed.start_shell(&flags, "touch begun; until [ -e go ]; do sleep 0.1; done");
    common::eventually(SOON, || {
        bed.server.home().join("begun").exists() && other.home().join("begun").exists()
    });
    bed.server.stop();
    std::fs::write(other.home().join("go"), "").unwrap();
    let done = running.wait(SOON).expect_code(1).json();
    assert_eq!(done["results"][0]["status"], "lost", "{done}");
    assert_eq!(done["results"][1]["status"], "ok", "{done}");
}

#[test]
fn at_the_deadline_what_runs_times_out_and_what_waits_is_skipped() {
    let Some(bed) = Bed::one() else { return };
    let list = bed.world.dir().join("tasks");
    std::fs::write(&list, format!("{STUBBORN}\ntouch second\n")).unwrap();
    let list = list.display().to_string();
    let args = [
        "fleet",
        "exec",
        "--tasks",
        &list,
        "--deadline",
        "4s",
        "--grace",
        "1s",
        "--json",
    ];
    let done = bed.run(&args).expect_code(124).json();
    bed.assert_no_task_within(GONE);
    assert_eq!(done["results"][0]["status"], "timeout", "{done}");
    assert_eq!(done["results"][1]["status"], "skipped", "{done}");
    assert!(!bed.server.home().join("second").exists());
}

#[test]
fn after_a_killed_controller_the_record_says_lost() {
    let Some(bed) = Bed::one() else { return };
    let running = bed.start_shell(&["--grace", "1s"], "echo begun; sleep 300");
    running.wait_for_line("begun", SOON);
    let shown = bed
        .run(&["fleet", "show", "last", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(shown["results"][0]["status"], "running", "{shown}");
    running.kill9();
    bed.assert_no_task_within(GONE);
    // Long before the lease of the killed controller runs out.
    let shown = bed.run(&["fleet", "show", "--json"]).expect_code(0).json();
    assert_eq!(shown["results"][0]["status"], "lost", "{shown}");
    let runs = bed.run(&["fleet", "runs", "--json"]).expect_code(0).json();
    assert_eq!(
        (&runs["runs"][0]["failed"], &runs["runs"][0]["open"]),
        (&1.into(), &0.into()),
        "{runs}"
    );
}

#[test]
fn what_a_killed_controller_never_started_is_abandoned() {
    let Some(bed) = Bed::one() else { return };
    let lines = "echo begun; sleep 300
echo second
echo third
";
    let list = bed.world.dir().join("tasks");
    std::fs::write(&list, lines).unwrap();
    let list = list.display().to_string();
    let running = bed.world.spawn(&["fleet", "exec", "--tasks", &list]);
    running.wait_for_line("begun", SOON);
    let words = || {
        let shown = bed.run(&["fleet", "show", "--json"]).expect_code(0).json();
        let results = shown["results"].as_array().unwrap().clone();
        let word = |r: &serde_json::Value| r["status"].as_str().unwrap().to_owned();
        results.iter().map(word).collect::<Vec<_>>()
    };
    let row = || bed.run(&["fleet", "runs", "--json"]).json()["runs"][0].clone();
    assert_eq!(words(), ["running", "waiting", "waiting"]);
    assert_eq!(
        (&row()["open"], &row()["abandoned"]),
        (&3.into(), &0.into())
    );
    let present = bed.world.home().join(".local/state/skyclaw/running");
    assert_eq!(std::fs::read_dir(&present).unwrap().count(), 1);
    running.kill9();
    common::eventually(SOON, || words() == ["lost", "abandoned", "abandoned"]);
    assert_eq!(
        (&row()["open"], &row()["abandoned"]),
        (&0.into(), &2.into())
    );
    let shown = bed.run(&["fleet", "show"]).expect_code(0).out();
    assert!(
        shown.contains("never started: skyclaw was killed"),
        "{shown}"
    );
    let runs = bed.run(&["fleet", "runs"]).expect_code(0).out();
    assert!(runs.contains("2 abandoned"), "{runs}");
    // One that came to its end leaves no file, and takes that of the killed one along.
    bed.shell(&[], "true").expect_code(0);
    assert_eq!(std::fs::read_dir(&present).unwrap().count(), 0);
    assert_eq!(words(), ["ok"]);
}

#[test]
fn what_holds_the_pipe_is_ended_also_when_every_slot_is_taken() {
    let Some(bed) = Bed::one() else { return };
    bed.world
        .fleet(&[bed.server.fleet_host("web1").with("slots", 12)]);
    let lines = "sleep 300 & echo first\n".repeat(12);
    let done = bed
        .world
        .skyclaw_with_stdin(
            &["fleet", "exec", "--tasks", "-", "--json"],
            lines.as_bytes(),
        )
        .expect_code(0)
        .json();
    assert_eq!(done["summary"]["ok"], 12, "{done}");
    bed.assert_no_task_within(GONE);
}

#[test]
fn an_agent_that_hangs_over_its_help_runs_into_the_limit() {
    let Some(bed) = Bed::one() else { return };
    bed.install(
        ".local/bin/picoclaw",
        "#!/bin/sh\ntrap '' TERM\nsleep 300\n",
    );
    let args = ["fleet", "dispatch", "t", "--timeout", "2s", "--grace", "1s"];
    bed.run(&args).expect_code(124);
    common::procs::assert_no_process_within(GONE, &bed.server.marker());
}
