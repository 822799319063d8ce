//! Waiting and following: streams, exit codes, interruptions.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use serde_json::json;

use crate::common::{Running, Verbs, eventually};
use crate::place::{Place, SOON, bare};

#[test]
fn a_follower_gets_each_stream_while_it_is_printed() {
    let place = Place::working();
    let gate = place.path().join("gate");
    let script = format!(
        "printf out1; printf err1 >&2; while [ ! -e {} ]; do sleep 0.05; done; echo out2; exit 7",
        gate.display()
    );
    let running = place.start(&["enqueue-shell", "--follow", "sh", "-c", &script]);
    eventually(SOON, || {
        running.stdout_so_far() == "out1" && running.stderr_so_far().ends_with("err1")
    });
    std::fs::write(&gate, "").unwrap();
    let done = running.wait(SOON).expect_code(7);
    assert_eq!(done.out(), "out1out2\n");
    assert!(done.err().starts_with("skyclaw: job_"), "{done}");
}

#[test]
fn waiting_ends_as_the_job_did() {
    let place = Place::working();
    for (script, code) in [("true", 0), ("exit 42", 42), ("kill -9 $$", 137)] {
        let done = place
            .run(&["enqueue-shell", "--wait", "sh", "-c", script])
            .expect_code(code);
        assert_eq!(done.out().lines().count(), 1, "only the id: {done}");
        let id = done.out().trim().to_owned();
        place.run(&["job", "wait", &id]).expect_code(code);
    }
    let limited = [
        "enqueue-shell",
        "--wait",
        "--timeout",
        "1s",
        "sh",
        "-c",
        "sleep 60",
    ];
    place.run(&limited).expect_code(124);
}

#[test]
fn the_whole_output_of_short_jobs_is_shown_byte_for_byte() {
    let place = Place::working();
    let script = r"printf 'a\377\000\033[31mb'; printf 'c\r\n' >&2";
    let done = place
        .run(&["enqueue-shell", "-F", "sh", "-c", script])
        .expect_code(0);
    assert_eq!(done.stdout, b"a\xff\0\x1b[31mb");
    assert!(done.stderr.ends_with(b"c\r\n"), "{done}");
    let id = place.says(&["job", "list", "--limit", "1", "--json"]);
    let id: serde_json::Value = serde_json::from_str(&id).unwrap();
    let id = id["jobs"][0]["id"].as_str().unwrap();
    for args in [
        &["job", "logs", id][..],
        &["job", "logs", "-F", id],
        &["job", "result", id],
    ] {
        let shown = place.run(args).expect_code(0);
        assert_eq!(
            (shown.stdout, shown.stderr),
            (done.stdout.clone(), b"c\r\n".to_vec())
        );
    }
    let stderr = place.run(&["job", "logs", "--stderr", id]).expect_code(0);
    assert_eq!(
        (stderr.stdout.as_slice(), stderr.stderr.as_slice()),
        (&b"c\r\n"[..], &b""[..])
    );
}

#[test]
fn a_wait_can_be_limited_and_interrupted_and_the_job_goes_on() {
    let place = Place::quiet();
    let id = place.says(&["enqueue-shell", "true"]);
    let late = place
        .run(&["job", "wait", "--timeout", "500ms", &id])
        .expect_code(124);
    assert!(late.out().contains("queued"), "{late}");
    for (signal, code) in [
        (rustix::process::Signal::INT, 130),
        (rustix::process::Signal::TERM, 143),
    ] {
        let waiting = place.start(&["enqueue-shell", "--wait", "true"]);
        let id = waiting.wait_for_line("job_", SOON);
        waiting.signal(signal);
        let done = waiting.wait(SOON).expect_code(code);
        assert!(
            done.err()
                .contains(&format!("skyclaw job cancel {}", id.trim())),
            "{done}"
        );
        let job = &place.coordinator.get(&format!("/v1/jobs/{}", id.trim()))["job"];
        assert_eq!(job["status"], "queued");
    }
}

#[test]
fn several_jobs_end_with_the_gravest_code() {
    let place = Place::working();
    let ids: Vec<String> = ["true", "exit 3"]
        .iter()
        .map(|script| place.says(&["enqueue-shell", "sh", "-c", script]))
        .collect();
    let done = place.run(&["job", "wait", &ids[0], &ids[1]]).expect_code(1);
    assert!(done.out().contains("failed/exit, exit 3"), "{done}");
}

#[test]
fn waiting_outlives_a_restart_of_the_coordinator() {
    let place = Place::quiet();
    let id = place.says(&["enqueue-shell", "true"]);
    let waiting = place.start(&["-vv", "job", "wait", &id]);
    let port = place.coordinator.address.port().to_string();
    let Verbs { coordinator, dir } = place.verbs;
    coordinator.kill();
    waiting.wait_for_error_line("waiting for a coordinator", SOON);
    let again = ["coordinator", "--port", &port, "--db", "coordinator.db"];
    let again = Running::start(&mut bare(dir.path(), &again), None);
    again.wait_for_line("listening", SOON);
    let url = format!("http://127.0.0.1:{port}");
    let cancel = ["job", "cancel", "--coordinator", &url, &id];
    Running::start(&mut bare(dir.path(), &cancel), None)
        .wait(SOON)
        .expect_code(0);
    let done = waiting.wait(SOON).expect_code(1);
    assert!(done.out().contains("failed/cancelled"), "{done}");
}

#[test]
fn a_reader_that_goes_away_ends_the_following_and_the_job_goes_on() {
    let place = Place::working();
    let script = "while true; do echo line; sleep 0.05; done";
    let id = place.says(&["enqueue-shell", "sh", "-c", script]);
    let program = env!("CARGO_BIN_EXE_skyclaw");
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", &format!("{program} job logs -F {id} | head -n 2")])
        .env("SKYCLAW_COORDINATOR_URL", place.coordinator.url());
    let done = Running::start(&mut shell, None).wait(SOON).expect_code(0);
    assert_eq!(done.out(), "line\nline\n");
    let job = &place.coordinator.get(&format!("/v1/jobs/{id}"))["job"];
    assert_eq!(job["status"], "leased", "the job goes on");
    place.says(&["job", "cancel", &id]);
}

/// A coordinator whose only job is claimed just between the question for running and that for waiting ones.
fn slippery(listener: &TcpListener) {
    let job = |status: &str| {
        json!({
            "id": "job_00000000-0000-4000-8000-000000000001", "status": status, "attempts": 1,
            "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
            "requirement": {"requiredCapabilities": []}, "payload": {"kind": "shell", "command": "true"},
            "priority": 0, "updatedBy": "n", "version": 1,
        })
    };
    let (mut seen, mut over) = (false, false);
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut line = String::new();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        reader.read_line(&mut line).unwrap();
        let mut rest = String::new();
        while reader.read_line(&mut rest).unwrap() > 2 {
            rest.clear();
        }
        let state = if over { "completed" } else { "leased" };
        let body = if line.contains("/v1/jobs/job_") {
            over = true;
            json!({ "job": job("completed") })
        } else if line.contains("status=leased") {
            let found = (seen && !over).then(|| job(state));
            json!({ "jobs": found.into_iter().collect::<Vec<_>>() })
        } else if line.contains("status=") {
            json!({ "jobs": [] })
        } else {
            seen = true;
            json!({ "jobs": [job(state)] })
        };
        let body = body.to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        write!(
            stream,
            "{head}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
    }
}

#[test]
fn a_group_is_waited_for_also_if_a_job_slips_between_two_questions() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || slippery(&listener));
    let group = "00000000-0000-4000-8000-000000000002";
    let args = [
        "job",
        "wait",
        "--group",
        group,
        "--coordinator",
        &url,
        "--json",
    ];
    let done = Running::start(&mut bare(dir.path(), &args), None).wait(SOON);
    let done = done.expect_code(0);
    assert!(done.out().contains("\"completed\""), "{done}");
}
