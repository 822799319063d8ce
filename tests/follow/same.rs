//! What a followed run shows is what a run in one process shows.

use serde_json::json;

use crate::bed::{Bed, SOON};

const BOTH: &str = "printf out; printf err >&2; exit 3";

#[test]
fn one_host_gives_its_own_output_and_exit_code() {
    let bed = Bed::new(&["web1"]);
    let _host = bed.host("web1", &[]);
    let done = bed
        .run(&["fleet", "exec", "web1", "--shell", BOTH])
        .expect_code(3);
    assert_eq!((done.out().as_str(), done.stdout.len()), ("out", 3));
    assert!(done.err().contains("err"), "{done}");
    let runs = bed.runs();
    assert_eq!(runs.len(), 1);
    assert_eq!(
        (&runs[0]["kind"], &runs[0]["title"]),
        (&json!("exec"), &json!(BOTH))
    );
    assert_eq!(runs[0]["counts"]["failed"], 1);
}

#[test]
fn several_hosts_give_prefixed_lines_and_one_report_each() {
    let bed = Bed::new(&["web1", "web2"]);
    let _hosts = [bed.host("web1", &[]), bed.host("web2", &[])];
    let line = "echo \"I am $0\"; [ \"$X\" = 'a b' ] && pwd";
    let args = [
        "fleet", "exec", "--env", "X=a b", "--cwd", "/", "--shell", line,
    ];
    let done = bed.run(&args).expect_code(0);
    let mut lines: Vec<String> = done.out().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "[web1] /",
            "[web1] I am /bin/sh",
            "[web2] /",
            "[web2] I am /bin/sh"
        ]
    );
    assert!(done.err().contains("2 ok in"), "{done}");
    let args = ["fleet", "exec", "--json", "--shell", "hostname >&2; exit 1"];
    let document = bed.run(&args).expect_code(1).json();
    let results = document["results"].as_array().unwrap();
    let hosts: Vec<_> = results.iter().map(|result| &result["host"]).collect();
    assert_eq!(hosts, ["web1", "web2"]);
    assert!(
        results
            .iter()
            .all(|result| result["status"] == "failed" && result["exit"] == 1)
    );
}

#[test]
fn each_task_of_a_list_runs_once_on_whichever_host_is_free() {
    let bed = Bed::new(&["web1", "web2"]);
    let vars = [("SKYCLAW_MAX_PARALLEL", "1")];
    let _hosts = [bed.host("web1", &vars), bed.host("web2", &vars)];
    let tasks: String = (0..6).map(|n| format!("echo task-{n}\n")).collect();
    let list = bed.file("tasks");
    std::fs::write(&list, tasks).unwrap();
    let done = bed.run(&["fleet", "exec", "--tasks", &list]).expect_code(0);
    for n in 0..6 {
        let line = format!("#{}] task-{n}", n + 1);
        assert_eq!(done.out().matches(&line).count(), 1, "{done}");
    }
    assert_eq!(bed.runs().len(), 1);
}

#[test]
fn bytes_that_are_no_text_arrive_and_a_home_is_where_tasks_begin() {
    use std::os::unix::ffi::OsStrExt;
    let bed = Bed::new(&["web1"]);
    let _host = bed.host("web1", &[]);
    let mut command = bed
        .world
        .command(&["fleet", "exec", "web1", "--", "printf", "%s|"]);
    command.arg(std::ffi::OsStr::from_bytes(b"\xff\xfe 'x'"));
    let done = crate::common::Running::start(command, None)
        .wait(SOON)
        .expect_code(0);
    assert_eq!(done.stdout, b"\xff\xfe 'x'|");
    let done = bed
        .run(&["fleet", "exec", "web1", "--", "pwd"])
        .expect_code(0);
    let home = bed.home_of("web1").canonicalize().unwrap();
    assert_eq!(done.out().trim_end(), home.to_str().unwrap());
}

#[test]
fn output_larger_than_a_result_comes_whole() {
    let bed = Bed::new(&["web1"]);
    let _host = bed.host("web1", &[]);
    // Long enough that it is logged, more than the ends that a result keeps.
    let line = "sleep 1; i=0; while [ $i -lt 60000 ]; do i=$((i+1)); echo line-$i; done";
    let whole: String = (1..=60_000).map(|n| format!("line-{n}\n")).collect();
    let done = bed
        .run(&["fleet", "exec", "web1", "--shell", line])
        .expect_code(0);
    assert!(done.out() == whole, "live: {} bytes", done.stdout.len());
    let document = bed
        .run(&["fleet", "exec", "web1", "--json", "--shell", line])
        .expect_code(0)
        .json();
    let result = &document["results"][0];
    assert!(
        result["stdout"] == whole.as_str(),
        "{}",
        result["stdoutBytes"]
    );
    assert_eq!(result["stdoutTruncated"], false);
}

#[test]
fn output_is_shown_while_it_comes() {
    let bed = Bed::new(&["web1", "web2"]);
    let _hosts = [bed.host("web1", &[]), bed.host("web2", &[])];
    let gate = bed.file("gate");
    let line = format!("echo begun; while [ ! -e {gate} ]; do sleep 0.1; done; echo over");
    let running = bed.world.spawn(&["fleet", "exec", "--shell", &line]);
    running.wait_for_line("[web1] begun", SOON);
    running.wait_for_line("[web2] begun", SOON);
    std::fs::write(&gate, "").unwrap();
    let done = running.wait(SOON).expect_code(0);
    assert!(done.out().contains("[web1] over") && done.out().contains("[web2] over"));
}

#[test]
fn an_agent_gets_its_task_and_is_missing_where_it_is_not_installed() {
    let bed = Bed::new(&["web1", "web2"]);
    crate::common::bed::install_picoclaw(&bed.home_of("web1"));
    let program = bed.home_of("web1").join(".local/bin/picoclaw");
    let vars = [("SKYCLAW_PICOCLAW_COMMAND", program.to_str().unwrap())];
    let _hosts = [bed.host("web1", &vars), bed.host("web2", &[])];
    let task = "say \"hi\" $HOME\nüé";
    let document = bed
        .run(&["fleet", "dispatch", task, "--json"])
        .expect_code(10)
        .json();
    let results = document["results"].as_array().unwrap();
    assert_eq!(results[0]["status"], "ok", "{document}");
    assert!(
        results[0]["stdout"].as_str().unwrap().contains(task),
        "{document}"
    );
    assert_eq!(results[1]["status"], "missing", "{document}");
    assert!(
        results[1]["hint"]
            .as_str()
            .unwrap()
            .contains("fleet deploy")
    );
    let own = bed.run(&[
        "fleet",
        "dispatch",
        "x",
        "--on",
        "web1",
        "--agent",
        "echo got {task} {name}",
    ]);
    assert_eq!(own.expect_code(0).out(), "got x web1\n");
}

#[test]
fn what_must_not_be_written_down_stays_in_this_process() {
    let mut bed = Bed::new(&["web1"]);
    bed.world.set_env("FROM_HERE", "geheim");
    let _host = bed.host("web1", &[]);
    let args = [
        "-v",
        "fleet",
        "exec",
        "web1",
        "--env-from",
        "FROM_HERE",
        "--",
        "true",
    ];
    // Over SSH, where nobody listens.
    let done = bed.run(&args).expect_code(255);
    assert!(done.err().contains("--env-from FROM_HERE"), "{done}");
    assert!(!done.err().contains("geheim"));
    assert!(bed.runs().is_empty());
    let done = bed.run(&[
        "fleet",
        "exec",
        "web1",
        "--env",
        "A_TOKEN=geheim",
        "--",
        "true",
    ]);
    done.expect_code(255);
    assert!(bed.runs().is_empty());
}
