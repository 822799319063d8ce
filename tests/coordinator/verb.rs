//! `skyclaw coordinator` as a person runs it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::run::Running;
use crate::common::{eventually, scan_files};

const DEADLINE: Duration = Duration::from_secs(30);

/// The command in `dir`, without anything of the caller's environment.
fn command(dir: &Path, args: &[&str]) -> Box<Command> {
    let mut command = Box::new(Command::new(env!("CARGO_BIN_EXE_skyclaw")));
    command
        .env_clear()
        .env("HOME", dir)
        .env("PATH", "/usr/bin:/bin")
        .current_dir(dir)
        .arg("coordinator")
        .args(args);
    command
}

/// Waits for the line that says where it listens and returns the address.
fn base(running: &Running) -> String {
    let line = running.wait_for_line("listening on", DEADLINE);
    let (head, base) = line.split_once(" listening on ").unwrap();
    assert!(head.starts_with("[skyclaw] coordinator "), "{line}");
    base.trim().to_owned()
}

/// One request, without a runtime around it.
fn ask(base: &str, method: &str, path: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
    let shown = token.map(|token| ("x-skyclaw-token", token));
    ask_as(base, method, path, shown, body)
}

/// Asks for a job that is not there with an API key.
fn public(base: &str, key: &str) -> (u16, Value) {
    let shown = Some(("x-api-key", key));
    ask_as(base, "GET", "/v1/public/jobs/job_x", shown, &json!({}))
}

fn ask_as(
    base: &str,
    method: &str,
    path: &str,
    shown: Option<(&str, &str)>,
    body: &Value,
) -> (u16, Value) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let client = crate::harness::client();
            let mut request = client.request(method.parse().unwrap(), format!("{base}{path}"));
            if let Some((name, value)) = shown {
                request = request.header(name, value);
            }
            let response = request.body(body.to_string()).send().await.unwrap();
            let status = response.status().as_u16();
            let text = response.text().await.unwrap();
            (status, serde_json::from_str(&text).unwrap_or(Value::Null))
        })
}

#[test]
fn it_says_where_it_listens_and_ends_well_when_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--port", "0", "--node-id", "node_one"];
    let running = Running::start(command(dir.path(), &args), None);
    let line = running.wait_for_line("listening", DEADLINE);
    assert!(
        line.starts_with("[skyclaw] coordinator node_one listening on http://127.0.0.1:"),
        "{line}"
    );
    let base = base(&running);
    let (status, health) = ask(&base, "GET", "/health", None, &json!({}));
    assert_eq!((status, &health["nodeId"]), (200, &json!("node_one")));
    assert!(dir.path().join(".skyclaw/coordinator.db").exists());
    running.terminate();
    let ended = running.wait(DEADLINE).expect_code(0);
    assert_eq!(ended.out().lines().count(), 1, "{ended}");
    assert_eq!(ended.err(), "");
}

#[test]
fn what_was_answered_survives_a_kill_and_the_id_stays() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--port", "0", "--db", "q.db"];
    let first = Running::start(command(dir.path(), &args), None);
    let address = base(&first);
    let body = json!({"payload": {"kind": "shell", "command": "true"}});
    let (status, got) = ask(&address, "POST", "/v1/jobs", None, &body);
    assert_eq!(status, 200);
    let (_, health) = ask(&address, "GET", "/health", None, &json!({}));
    first.kill9();
    first.wait(DEADLINE);
    let second = Running::start(command(dir.path(), &args), None);
    let address = base(&second);
    let path = format!("/v1/jobs/{}", got["job"]["id"].as_str().unwrap());
    let (status, found) = ask(&address, "GET", &path, None, &json!({}));
    assert_eq!((status, &found["job"]["status"]), (200, &json!("queued")));
    assert_eq!(ask(&address, "GET", "/health", None, &json!({})).1, health);
    second.interrupt();
    second.wait(DEADLINE).expect_code(0);
}

#[test]
fn wrong_settings_are_errors_of_usage() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 6] = [
        (&["--port", "x"], "--port"),
        (&["--lease-ms", "12abc"], "--lease-ms"),
        (&["--lease-ms", "5"], "at least 100"),
        (&["--retention", "7w"], "retention"),
        (&["--host", "0.0.0.0"], "without a token"),
        (&["--token-file", "none"], "token file"),
    ];
    for (args, text) in cases {
        let ended = Running::start(command(dir.path(), args), None)
            .wait(DEADLINE)
            .expect_code(2);
        assert!(ended.err().contains(text), "{args:?}: {ended}");
    }
    let mut bad = command(dir.path(), &["--port", "0"]);
    bad.env("SKYCLAW_MAX_QUEUED", "many");
    Running::start(bad, None).wait(DEADLINE).expect_code(2);
    let mut keys = command(dir.path(), &["--port", "0"]);
    keys.env("SKYCLAW_PUBLIC_API_KEYS", "sk-secret-key:l:c:root");
    let ended = Running::start(keys, None).wait(DEADLINE).expect_code(2);
    assert!(!ended.err().contains("sk-secret"), "{ended}");
}

#[test]
fn a_port_in_use_is_said_clearly() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = Running::start(command(dir.path(), &["--port", &port]), None)
        .wait(DEADLINE)
        .expect_code(1);
    assert!(
        ended
            .err()
            .contains(&format!("port {port} on 127.0.0.1 is in use")),
        "{ended}"
    );
}

#[test]
fn a_newer_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("q.db");
    std::fs::write(&db, "this is no database, and long enough to be looked at").unwrap();
    let ended = Running::start(command(dir.path(), &["--port", "0", "--db", "q.db"]), None)
        .wait(DEADLINE)
        .expect_code(1);
    assert!(ended.err().contains("q.db"), "{ended}");
}

#[test]
fn secrets_stay_out_of_sight_and_empty_variables_count_as_unset() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "tok-never-shown-1\n").unwrap();
    let mut set = command(
        dir.path(),
        &[
            "-vvv",
            "--port",
            "0",
            "--host",
            "127.0.0.1",
            "--log-format",
            "json",
        ],
    );
    set.env("SKYCLAW_TOKEN_FILE", "token")
        .env("SKYCLAW_PUBLIC_API_KEYS", "key-never-shown-2:site")
        .env("SKYCLAW_LEASE_MS", "")
        .env("SKYCLAW_COORDINATOR_PORT", "");
    let running = Running::start(set, None);
    let address = base(&running);
    let (status, _) = ask(&address, "GET", "/v1/hosts", None, &json!({}));
    assert_eq!(status, 401);
    let (status, _) = ask(
        &address,
        "GET",
        "/v1/hosts",
        Some("tok-never-shown-1"),
        &json!({}),
    );
    assert_eq!(status, 200);
    let (status, _) = ask(
        &address,
        "GET",
        "/v1/hosts",
        Some("wrong-never-shown-3"),
        &json!({}),
    );
    assert_eq!(status, 401);
    running.terminate();
    let ended = running.wait(DEADLINE).expect_code(0);
    assert!(!format!("{ended}").contains("never-shown"), "{ended}");
    for line in ended.err().lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    }
    let found = scan_files(&dir.path().join(".skyclaw"), "never-shown");
    assert!(found.is_empty(), "{found:?}");
    eventually(DEADLINE, || {
        !dir.path().join(".skyclaw/coordinator.db-wal").exists()
    });
}

#[test]
fn jobs_beside_it_find_no_secret_in_its_environment() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sign"), "sig-never-shown-4\n").unwrap();
    let args = ["--port", "0", "--webhook", "http://127.0.0.1:9/"];
    let mut set = command(dir.path(), &[&args[..], &["--host", "127.0.0.1"]].concat());
    // More keys than a pipe holds unasked.
    let many: String = (0..4000).map(|at| format!(",key-{at:012}:site")).collect();
    set.env("SKYCLAW_TOKEN", "tok-never-shown-1")
        .env(
            "SKYCLAW_PUBLIC_API_KEYS",
            format!("key-never-shown-2:site{many}"),
        )
        .env("SKYCLAW_WEBHOOK_SECRET", "web-never-shown-3")
        .env("SKYCLAW_WEBHOOK_SECRET_FILE", "sign")
        .env("OF_THE_COMMAND_TOKEN", "stays");
    let running = Running::start(set, None);
    let address = base(&running);
    // Who may not even look at it sees nothing either.
    if let Ok(seen) = std::fs::read(format!("/proc/{}/environ", running.pid())) {
        let seen = String::from_utf8_lossy(&seen);
        assert!(!seen.contains("never-shown"), "{seen}");
        assert!(seen.contains("OF_THE_COMMAND_TOKEN=stays"), "{seen}");
    }
    let status = |token: Option<&str>| ask(&address, "GET", "/v1/hosts", token, &json!({})).0;
    assert_eq!(
        (status(None), status(Some("tok-never-shown-1"))),
        (401, 200)
    );
    let (status, _) = public(&address, "key-never-shown-2");
    assert_eq!(status, 404, "the key is known");
    assert_eq!(public(&address, "key-unknown").0, 401);
    running.terminate();
    running.wait(DEADLINE).expect_code(0);
}

#[test]
fn a_second_one_on_the_same_file_is_refused_and_backup_and_gc_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--port", "0", "--db", "q.db"];
    let first = Running::start(command(dir.path(), &args), None);
    base(&first);
    std::os::unix::fs::symlink(dir.path().join("q.db"), dir.path().join("other.db")).unwrap();
    for name in ["q.db", "other.db"] {
        let second = command(dir.path(), &["--port", "0", "--db", name]);
        let ended = Running::start(second, None).wait(DEADLINE).expect_code(1);
        let said = format!("{name} is served by another coordinator");
        assert!(
            ended.err().contains(&said) && ended.err().contains("--db"),
            "{ended}"
        );
    }
    for beside in [
        &["backup", "copy.db", "--db", "q.db"][..],
        &["gc", "--db", "q.db"],
    ] {
        let ended = Running::start(command(dir.path(), beside), None);
        ended.wait(DEADLINE).expect_code(0);
    }
    first.kill9();
    first.wait(DEADLINE);
    let next = Running::start(command(dir.path(), &args), None);
    base(&next);
    next.terminate();
    next.wait(DEADLINE).expect_code(0);
}
