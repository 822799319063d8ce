//! `--resume`: going on with a run whose command is gone.

use std::time::Duration;

use crate::bed::{Bed, SOON};
use crate::common::{Bed as Over, World, eventually};

/// The id of the newest run.
fn last(run: impl Fn(&[&str]) -> crate::common::Output) -> String {
    let document = run(&["fleet", "runs", "--json"]).expect_code(0).json();
    document["runs"][0]["run"].as_str().unwrap().to_owned()
}

#[test]
fn a_run_goes_on_without_its_command_and_is_followed_again() {
    let bed = Bed::new(&["web1", "web2"]);
    let _hosts = [bed.host("web1", &[]), bed.host("web2", &[])];
    let (gate, count) = (bed.file("gate"), bed.file("count"));
    let line = format!(
        "echo x >> {count}; echo begun; while [ ! -e {gate} ]; do sleep 0.1; done; echo over; exit 7"
    );
    let running = bed.world.spawn(&["fleet", "exec", "--shell", &line]);
    running.wait_for_line("[web1] begun", SOON);
    running.wait_for_line("[web2] begun", SOON);
    running.kill9();
    let run = last(|args| bed.run(args));
    let again = bed.world.spawn(&["fleet", "exec", "--resume", &run[..12]]);
    again.wait_for_line("[web1] begun", SOON);
    std::fs::write(&gate, "").unwrap();
    let done = again.wait(SOON).expect_code(1);
    for host in ["web1", "web2"] {
        assert_eq!(
            done.out().matches(&format!("[{host}] over")).count(),
            1,
            "{done}"
        );
    }
    assert!(done.err().contains("2 failed in"), "{done}");
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\nx\n");
    // Once more, when all of it is over.
    let told = bed
        .run(&["fleet", "exec", "--resume", "last"])
        .expect_code(1);
    assert_eq!(told.out().matches("begun").count(), 2, "{told}");
    // The verb must be that of the run.
    let other = bed
        .run(&["fleet", "dispatch", "--resume", "last"])
        .expect_code(2);
    assert!(other.err().contains("fleet exec --resume"), "{other}");
}

#[test]
fn runs_of_both_kinds_are_listed_and_shown_also_when_no_coordinator_runs() {
    let mut bed = Bed::new(&["web1"]);
    let _host = bed.host("web1", &[]);
    bed.run(&["fleet", "exec", "web1", "--", "echo", "one"])
        .expect_code(0);
    bed.run(&[
        "fleet",
        "exec",
        "web1",
        "--keepalive",
        "9s",
        "--",
        "echo",
        "two",
    ])
    .expect_code(255);
    let titles = |bed: &Bed| -> Vec<String> {
        let document = bed.run(&["fleet", "runs", "--json"]).expect_code(0).json();
        let runs = document["runs"].as_array().unwrap();
        runs.iter()
            .map(|run| run["title"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(titles(&bed), ["echo two", "echo one"]);
    let run = bed.runs()[0]["id"].as_str().unwrap().to_owned();
    let shown = bed
        .run(&["fleet", "show", &run, "--on", "web1"])
        .expect_code(0);
    assert_eq!(shown.out(), "one\n");
    bed.kill_coordinator();
    bed.adopt_database();
    assert_eq!(titles(&bed), ["echo two", "echo one"]);
    let shown = bed
        .run(&["fleet", "show", &run, "--json"])
        .expect_code(0)
        .json();
    assert_eq!(shown["results"][0]["host"], "web1");
    assert_eq!(shown["results"][0]["status"], "ok");
    let told = bed.run(&["fleet", "exec", "--resume", &run]).expect_code(0);
    assert_eq!(told.out(), "one\n");
}

#[test]
fn what_had_not_begun_when_its_process_was_killed_is_done_and_nothing_runs_twice() {
    let Some(bed) = Over::one() else { return };
    let file = |name: &str| bed.world.dir().join(name);
    let (log, gate) = (file("log").display().to_string(), file("gate"));
    let first = format!("echo one >> {log}; printf done-one");
    let second = format!(
        "echo two >> {log}; while [ ! -e {} ]; do sleep 0.1; done",
        gate.display()
    );
    let third = format!("echo three >> {log}; printf \"$X\"");
    std::fs::write(file("tasks"), format!("{first}\n{second}\n{third}\n")).unwrap();
    let tasks = file("tasks").display().to_string();
    let args = ["fleet", "exec", "--env", "X=done-three", "--tasks", &tasks];
    let running = bed.world.spawn(&args);
    let logged = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually(SOON, || logged() == "one\ntwo\n");
    // While it is worked on, nobody else does.
    let refused = bed
        .run(&["fleet", "exec", "--resume", "last"])
        .expect_code(2);
    assert!(refused.err().contains("being worked on"), "{refused}");
    running.kill9();
    bed.assert_no_task_within(Duration::from_secs(10));
    std::fs::remove_file(file("tasks")).unwrap();
    let done = bed
        .run(&["fleet", "exec", "--resume", "last", "--json"])
        .expect_code(1);
    let document = done.json();
    let seen: Vec<(&str, &str)> = document["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| {
            (
                result["status"].as_str().unwrap(),
                result["stdout"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [("ok", "done-one"), ("lost", ""), ("ok", "done-three")],
        "{done}"
    );
    assert_eq!(logged(), "one\ntwo\nthree\n");
    // And again: now there is nothing left to do.
    let told = bed
        .run(&["fleet", "exec", "--resume", "last", "--json"])
        .expect_code(1)
        .json();
    assert_eq!(told["results"][2]["stdout"], "done-three");
    assert_eq!(logged(), "one\ntwo\nthree\n");
}

#[test]
fn a_run_that_needs_what_nobody_wrote_down_is_refused_with_what_to_do() {
    let Some(mut bed) = Over::one() else { return };
    bed.world.set_env("FROM_HERE", "geheim");
    let args = [
        "fleet",
        "exec",
        "--env-from",
        "FROM_HERE",
        "--shell",
        "echo begun; sleep 300",
    ];
    let running = bed.world.spawn(&args);
    running.wait_for_line("begun", SOON);
    running.kill9();
    let refused = bed
        .run(&["fleet", "exec", "--resume", "last"])
        .expect_code(2);
    assert!(refused.err().contains("--env-from FROM_HERE"), "{refused}");
    assert!(!refused.err().contains("geheim"), "{refused}");
    let unknown = bed
        .run(&["fleet", "exec", "--resume", "nosuch"])
        .expect_code(2);
    assert!(unknown.err().contains("no run `nosuch`"), "{unknown}");
    bed.run(&["fleet", "exec", "--resume", "last", "--", "true"])
        .expect_code(2);
}

#[test]
fn what_did_not_come_out_well_is_done_again_until_nothing_is_left() {
    let Some(bed) = Over::named(&["web1", "web2"]) else {
        return;
    };
    let file = |name: &str| bed.world.dir().join(name);
    let (log, fixed) = (file("log"), file("fixed"));
    let line = format!(
        "echo {{name}}-{{index}} >> {}; case {{name}} in web2) [ -e {} ];; esac",
        log.display(),
        fixed.display()
    );
    std::fs::write(file("tasks"), format!("{line}\n")).unwrap();
    let tasks = file("tasks").display().to_string();
    let args = ["fleet", "exec", "--tasks", &tasks, "--each"];
    let first = bed.run(&args).expect_code(1);
    assert!(
        first
            .err()
            .contains("retry: skyclaw fleet exec --retry last"),
        "{first}"
    );
    let old = last(|args| bed.run(args));
    let again = bed
        .run(&["fleet", "exec", "--retry", "last"])
        .expect_code(1);
    assert!(again.err().contains("retrying 1 of 2"), "{again}");
    std::fs::write(&fixed, "").unwrap();
    bed.run(&["fleet", "exec", "--retry", "last"])
        .expect_code(0);
    // The hosts keep their numbers, and nothing that was well was done again.
    let mut lines: Vec<String> = std::fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(lines, ["web1-0", "web2-1", "web2-1", "web2-1"]);
    let done = bed
        .run(&["fleet", "exec", "--retry", "last"])
        .expect_code(0);
    assert!(done.err().contains("nothing to retry"), "{done}");
    // Linked to the one before, and told again as it was.
    assert_ne!(last(|args| bed.run(args)), old);
    let told = bed
        .run(&["fleet", "exec", "--resume", "last", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(told["results"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["results"][0]["host"], "web2");
    bed.run(&["fleet", "exec", "--resume", &old]).expect_code(1);
}

#[test]
fn a_controller_that_does_not_answer_keeps_its_database_to_itself() {
    let world = World::new();
    world.fleet(&[]);
    let none = world
        .skyclaw(&["fleet", "exec", "--resume", "last"])
        .expect_code(2);
    assert!(none.err().contains("no runs yet"), "{none}");
    let state = world.home().join(".local/state/skyclaw");
    std::fs::write(state.join("controller.lock"), r#"{"pid":4242}"#).unwrap();
    let lock = std::fs::File::open(state.join("controller.lock")).unwrap();
    lock.lock().unwrap();
    let database = state.join("controller.db");
    std::fs::write(&database, "").unwrap();
    for args in [&["fleet", "runs"][..], &["fleet", "exec", "--resume", "1"]] {
        let silent = world.skyclaw(args).expect_code(1);
        let why = "`fleet up` runs (process 4242) and does not answer";
        assert!(silent.err().contains(why), "{silent}");
    }
    assert_eq!(std::fs::metadata(&database).unwrap().len(), 0);
    drop(lock);
    world.skyclaw(&["fleet", "runs"]).expect_code(0);
}
