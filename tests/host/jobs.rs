//! Jobs run, and their results arrive.

use std::time::{Duration, Instant};

use skyclaw::client::LogQuery;
use skyclaw::protocol::Reason;
use skyclaw::protocol::api::JobKind;

use crate::bed::{Bed, SOON, assert_done, assert_failed, error, out, shell};
use crate::common::{Running, eventually};

#[test]
fn a_job_runs_and_its_result_arrives() {
    let bed = Bed::new();
    let host = bed.host("lab", &[]);
    let job = bed.run("echo hello; echo oops >&2");
    assert_done(&job);
    assert_eq!(out(&job), "hello\n");
    let result = job.result.clone().unwrap();
    assert_eq!(
        (result.exit_code, result.stderr.bytes.as_slice()),
        (Some(0), &b"oops\n"[..])
    );
    let id = bed.hosts()[0].id.clone();
    host.wait_for_line(&format!("completed {}: ok", job.id), SOON);
    let text = host.stdout_so_far();
    assert!(
        text.contains(&format!("[skyclaw] host registered: {id} (lab)")),
        "{text}"
    );
    assert!(
        text.contains(&format!("[skyclaw] running {} (shell)", job.id)),
        "{text}"
    );
    let failed = bed.run("exit 3");
    assert_failed(&failed, Reason::Exit);
    assert_eq!(failed.result.unwrap().exit_code, Some(3));
    host.wait_for_line(&format!("completed {}: failed", failed.id), SOON);
}

#[test]
fn as_many_jobs_run_at_once_as_the_owner_wants() {
    let bed = Bed::new();
    let _host = bed.host("lab", &[("SKYCLAW_MAX_PARALLEL", "2")]);
    // Each waits for the other, so one after the other neither would end.
    let meet = |own: &str, other: &str| {
        let (own, other) = (bed.file(own), bed.file(other));
        bed.sh(&format!(
            "touch {own}; while [ ! -e {other} ]; do sleep 0.02; done"
        ))
    };
    let jobs = [meet("a", "b"), meet("b", "a")];
    for job in jobs {
        assert_done(&bed.wait(job));
    }
}

#[test]
fn many_short_jobs_all_arrive_once() {
    let bed = Bed::new();
    let host = bed.host("lab", &[("SKYCLAW_MAX_PARALLEL", "4")]);
    let file = bed.file("ran");
    let jobs: Vec<_> = (0..60)
        .map(|n| bed.sh(&format!("echo {n} >> {file}")))
        .collect();
    for job in jobs {
        assert_done(&bed.wait(job));
    }
    assert_eq!(bed.made("ran").lines().count(), 60);
    let left = bed.state_dir("lab").join("work");
    eventually(SOON, || std::fs::read_dir(&left).unwrap().count() == 0);
    drop(host);
}

#[test]
fn a_limit_ends_a_job_with_all_that_it_started() {
    let bed = Bed::new();
    let _host = bed.host("lab", &[]);
    let started = Instant::now();
    let job = bed.wait(bed.submit(&JobKind::Shell {
        command: "sh".into(),
        args: vec![
            "-c".into(),
            "trap '' TERM; echo begun; sleep 777 & sleep 777".into(),
        ],
        cwd: None,
        env: Default::default(),
        timeout_ms: Some(10),
        grace_ms: None,
        argv_b64: Vec::new(),
        stdin: None,
        agent: None,
    }));
    assert_failed(&job, Reason::Timeout);
    assert_eq!(
        error(&job),
        "timed out after 1000ms",
        "a second is always granted"
    );
    assert_eq!(out(&job), "begun\n");
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[test]
fn what_a_job_prints_is_there_while_it_runs_and_none_is_lost() {
    let bed = Bed::new();
    let _host = bed.host("lab", &[]);
    let go = bed.file("go");
    let job = bed.sh(&format!(
        "echo first; while [ ! -e {go} ]; do sleep 0.02; done; echo last"
    ));
    let log = || {
        let page = bed
            .block_on(bed.client().logs(job, &LogQuery::default()))
            .unwrap();
        let text = page.pieces.iter().flat_map(|piece| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD
                .decode(&piece.data_b64)
                .unwrap()
        });
        String::from_utf8(text.collect()).unwrap()
    };
    eventually(SOON, || log() == "first\n");
    std::fs::write(&go, "").unwrap();
    assert_done(&bed.wait(job));
    assert_eq!(log(), "first\nlast\n");
}

#[test]
fn a_flood_of_output_is_counted_and_costs_little() {
    let bed = Bed::new();
    let host = bed.host("lab", &[]);
    let job = bed.run("head -c 60000000 /dev/zero; echo; echo the end");
    assert_done(&job);
    let stdout = job.result.as_ref().unwrap().stdout.clone();
    assert_eq!(stdout.total, 60_000_009);
    assert!(stdout.truncated && stdout.bytes.len() <= 131_072);
    assert!(out(&job).ends_with("the end\n"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 120_000, "{peak}");
}

#[test]
fn a_cancel_reaches_a_host_whose_slots_are_all_taken() {
    let bed = Bed::new();
    // Heartbeats alone would be too late for this test.
    let _host = bed.host("lab", &[("SKYCLAW_HEARTBEAT_MS", "600000")]);
    let ready = bed.file("ready");
    let job = bed.sh(&format!("trap '' TERM; touch {ready}; sleep 777"));
    bed.made("ready");
    let started = Instant::now();
    bed.cancel(job);
    let job = bed.wait(job);
    assert_failed(&job, Reason::Cancelled);
    assert!(
        started.elapsed() < Duration::from_secs(14),
        "not by a heartbeat"
    );
}

#[test]
fn a_host_waits_for_its_coordinator_and_finds_it_again() {
    let mut bed = Bed::without_coordinator();
    let mut waiting = Running::start(&mut bed.host_command("lab", &[]), None);
    waiting.wait_for_line("no coordinator could be reached", SOON);
    assert!(waiting.is_running());
    bed.start_coordinator();
    waiting.wait_for_line("host registered", SOON);
    // It runs a job that outlasts the coordinator's absence.
    let go = bed.file("go");
    let job = bed.sh(&format!(
        "while [ ! -e {go} ]; do sleep 0.02; done; echo done"
    ));
    waiting.wait_for_line("running", SOON);
    bed.kill_coordinator();
    std::fs::write(&go, "").unwrap();
    bed.start_coordinator();
    let job = bed.wait(job);
    assert_done(&job);
    assert_eq!((out(&job).as_str(), job.attempts.get()), ("done\n", 1));
}

#[test]
fn a_forgotten_host_registers_again_with_its_id() {
    let mut bed = Bed::new();
    let host = bed.host("lab", &[("SKYCLAW_HEARTBEAT_MS", "200")]);
    let id = bed.hosts()[0].id.clone();
    bed.wipe_coordinator();
    bed.start_coordinator();
    eventually(SOON, || bed.hosts().iter().any(|host| host.id == id));
    assert_done(&bed.run("true"));
    drop(host);
}

#[test]
fn once_runs_what_is_there_and_leaves() {
    let bed = Bed::new();
    let jobs = [bed.sh("echo one"), bed.sh("echo two")];
    let mut command = bed.host_command("lab", &[]);
    command.arg("--once");
    Running::start(&mut command, None).wait(SOON).expect_code(0);
    for job in jobs {
        assert_done(&bed.look(job));
    }
    assert!(bed.hosts().is_empty(), "it took its leave");
    let nobody = Bed::without_coordinator();
    let mut command = nobody.host_command("lab", &[]);
    command.arg("--once");
    Running::start(&mut command, None)
        .wait(SOON)
        .expect_code(69);
}

#[test]
fn a_reader_who_does_not_read_stops_nothing() {
    use std::io::Read;
    use std::process::Stdio;
    let bed = Bed::new();
    let mut child = bed
        .host_command("lab", &[("SKYCLAW_MAX_PARALLEL", "4")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its lines fill the pipe long before the last job.
    let kinds: Vec<_> = (0..700).map(|_| bed.submit(&shell("exit 0"))).collect();
    assert_done(&bed.wait(*kinds.last().unwrap()));
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    eventually(SOON, || child.try_wait().unwrap().is_some());
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.contains("host registered"));
}
