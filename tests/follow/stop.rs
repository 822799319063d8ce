//! Limits, signals, hosts that are not there.

use std::time::Duration;

use crate::bed::{Bed, SOON};
use crate::common::{Running, eventually, require_program};

#[test]
fn a_host_that_is_not_there_is_unreachable_and_the_others_do_their_part() {
    let bed = Bed::new(&["web1", "web2"]);
    let _host = bed.host("web1", &[]);
    let args = [
        "fleet",
        "exec",
        "--connect-timeout",
        "1s",
        "--",
        "echo",
        "hi",
    ];
    let done = bed.run(&args).expect_code(4);
    assert_eq!(done.out(), "[web1] hi\n");
    // In the words of a connection of our own.
    assert!(done.err().contains("web2: unreachable"), "{done}");
    assert!(done.err().contains("refused"), "{done}");
    assert!(done.took < Duration::from_secs(20), "{done}");
    let alone = bed.run(&[
        "fleet",
        "exec",
        "web2",
        "--connect-timeout",
        "1s",
        "--",
        "true",
    ]);
    alone.expect_code(255);
    let shown = bed
        .run(&["fleet", "show", "last", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(shown["results"][0]["status"], "unreachable");
    assert_eq!(shown["results"][0]["host"], "web2");
}

#[test]
fn a_task_ends_at_its_limit_with_what_it_printed() {
    let bed = Bed::new(&["web1"]);
    let _host = bed.host("web1", &[]);
    let line = "echo part; sleep 300";
    let done = bed
        .run(&["fleet", "exec", "web1", "--timeout", "1s", "--shell", line])
        .expect_code(124);
    assert_eq!(done.out(), "part\n");
    assert!(done.err().contains("web1: timeout after"), "{done}");
}

#[test]
fn at_the_deadline_what_runs_times_out_and_what_waits_is_skipped() {
    let bed = Bed::new(&["web1"]);
    let _host = bed.host("web1", &[("SKYCLAW_MAX_PARALLEL", "1")]);
    let list = bed.file("tasks");
    std::fs::write(&list, "echo begun; sleep 300\nsleep 301\n").unwrap();
    let args = [
        "fleet",
        "exec",
        "--tasks",
        &list,
        "--deadline",
        "2s",
        "--json",
    ];
    let document = bed.run(&args).expect_code(124).json();
    let results = document["results"].as_array().unwrap();
    assert_eq!(results[0]["status"], "timeout", "{document}");
    assert_eq!(results[0]["stdout"], "begun\n");
    assert_eq!(results[1]["status"], "skipped", "{document}");
    assert!(results[1]["error"].as_str().unwrap().contains("deadline"));
}

#[test]
fn the_first_signal_ends_the_tasks_and_shows_what_there_is() {
    let bed = Bed::new(&["web1"]);
    let _host = bed.host("web1", &[("SKYCLAW_MAX_PARALLEL", "1")]);
    let ended = bed.file("ended");
    let line = format!(
        "trap 'echo bye; touch {ended}; exit 0' TERM; echo begun; while :; do sleep 0.1; done"
    );
    let list = bed.file("tasks");
    std::fs::write(&list, format!("{line}\necho never\n")).unwrap();
    let running = bed.world.spawn(&["fleet", "exec", "--tasks", &list]);
    running.wait_for_line("[web1#1] begun", SOON);
    running.interrupt();
    let done = running.wait(SOON).expect_code(130);
    assert!(
        done.out().contains("[web1#1] bye") && !done.out().contains("never"),
        "{done}"
    );
    assert!(done.err().contains("2 cancelled"), "{done}");
    assert!(done.err().contains("stopped before it started"), "{done}");
    bed.wait_for_file("ended");
    // The same again from the record, with the same code.
    let told = bed
        .run(&["fleet", "exec", "--resume", "last"])
        .expect_code(130);
    assert!(told.out().contains("[web1#1] bye"), "{told}");
}

#[test]
fn the_second_signal_leaves_at_once_and_the_task_is_ended_all_the_same() {
    let bed = Bed::new(&["web1"]);
    let _host = bed.host("web1", &[]);
    let pid = bed.file("pid");
    let line = format!("trap '' TERM; echo $$ > {pid}; echo begun; while :; do sleep 0.1; done");
    let args = ["fleet", "exec", "web1", "--grace", "3s", "--shell", &line];
    let running = bed.world.spawn(&args);
    running.wait_for_line("begun", SOON);
    let pid = std::fs::read_to_string(&pid).unwrap();
    running.interrupt();
    running.wait_for_cancel(&bed);
    running.interrupt();
    let done = running.wait(SOON).expect_code(130);
    assert!(done.took < Duration::from_secs(30), "{done}");
    eventually(SOON, || {
        !std::path::Path::new("/proc").join(pid.trim()).exists()
    });
}

trait WaitForCancel {
    fn wait_for_cancel(&self, bed: &Bed);
}

impl WaitForCancel for crate::common::Running {
    /// Waits until the coordinator knows that the job is to end.
    fn wait_for_cancel(&self, bed: &Bed) {
        eventually(SOON, || {
            let jobs = bed.coordinator().get("/v1/jobs");
            jobs["jobs"][0].get("cancel").is_some()
        });
    }
}

#[test]
fn on_a_terminal_it_says_what_a_task_waits_for() {
    if !require_program("script") {
        return;
    }
    let bed = Bed::new(&["web1"]);
    let _host = bed.host("web1", &[("SKYCLAW_MAX_PARALLEL", "1")]);
    let gate = bed.file("gate");
    let line = format!("echo begun; while [ ! -e {gate} ]; do sleep 0.1; done");
    let busy = bed.world.spawn(&["fleet", "exec", "--shell", &line]);
    busy.wait_for_line("begun", SOON);
    let mut script = bed.world.clean("script");
    script.env("TERM", "xterm");
    let program = env!("CARGO_BIN_EXE_skyclaw");
    let line = format!("exec {program} fleet exec web1 -- echo over");
    let waits = Running::start_on_terminal(script, &line);
    waits.wait_for_text("still waiting: web1: it is full: 1 of 1 jobs", SOON);
    std::fs::write(&gate, "").unwrap();
    let done = waits.wait(SOON);
    assert_eq!(done.code, 0, "{done}");
    assert_eq!(done.out().matches("still waiting").count(), 1, "{done}");
    let busy = busy.wait(SOON).expect_code(0);
    assert!(!busy.err().contains("still waiting"), "{busy}");
}
