//! A coordinator of the original, as it answers on the wire: no features, no tokens, errors as 500.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::bed::{Bed, SOON};
use crate::common::{eventually, scripted};

#[derive(Default)]
struct Old {
    jobs: VecDeque<Value>,
    known: bool,
    registrations: usize,
    completed: Vec<Value>,
    heartbeats: Vec<Value>,
    /// Completions that are refused before one is taken.
    failures: usize,
    /// It takes several at once, as ours does, but answers only about the first.
    curt: bool,
    /// How many came at once, the last time.
    together: usize,
}

type Shared = Arc<Mutex<Old>>;

fn serve(bed: &Bed) -> Shared {
    let old = Shared::default();
    let shared = Arc::clone(&old);
    scripted::serve(bed.port(), move |path, body| {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let (status, answer) = answer(path, &body, &mut shared.lock().unwrap());
        Some((status, serde_json::to_string_pretty(&answer).ok()?))
    });
    old
}

fn host() -> Value {
    json!({"host": {
        "id": "lab-1", "name": "lab", "capabilities": ["shell"], "maxParallel": 1, "activeLeases": 0,
        "lastSeenAt": "2026-01-01T00:00:00.000Z", "registeredAt": "2026-01-01T00:00:00.000Z",
        "updatedBy": "node_1", "version": 1
    }})
}

fn answer(path: &str, body: &Value, old: &mut Old) -> (&'static str, Value) {
    let ok = "200 OK";
    let wrong = "500 Internal Server Error";
    match path {
        "/v1/hosts/register" => {
            old.known = true;
            old.registrations += 1;
            let mut reply = host();
            if old.curt {
                reply["features"] = json!(["batch"]);
            }
            (ok, reply)
        }
        _ if !old.known => (wrong, json!({"error": "unknown host: lab-1"})),
        "/v1/hosts/lab-1/heartbeat" => {
            old.heartbeats.push(body.clone());
            (ok, host())
        }
        "/v1/hosts/lab-1/claim" => (ok, json!({"job": old.jobs.pop_front()})),
        _ if path.ends_with("/complete") && old.failures > 0 => {
            old.failures -= 1;
            old.together = body["completions"].as_array().map_or(1, Vec::len);
            (
                "503 Service Unavailable",
                json!({"error": "replication target not met: required 1 peer acks, got 0"}),
            )
        }
        "/v1/hosts/lab-1/complete" => {
            let first = body["completions"][0].clone();
            let result = json!({"jobId": first["jobId"], "outcome": "ended"});
            old.completed.push(first);
            (ok, json!({"results": [result]}))
        }
        _ if path.ends_with("/complete") => {
            old.completed.push(body.clone());
            let job = leased(9, "true", &[]);
            (ok, json!({"job": job}))
        }
        _ => ("404 Not Found", json!({"error": "not found"})),
    }
}

fn leased(number: u32, command: &str, args: &[&str]) -> Value {
    json!({
        "id": format!("job_0192f0c0-0000-4000-8000-0000000000{number:02}"), "status": "leased", "attempts": 1,
        "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z", "updatedBy": "node_1",
        "version": 2, "requirement": {"requiredCapabilities": ["shell"]},
        "payload": {"kind": "shell", "command": command, "args": args},
        "assignedHostId": "lab-1", "leaseExpiresAt": "2026-01-01T00:01:00.000Z"
    })
}

const VARS: [(&str, &str); 3] = [
    ("SKYCLAW_HOST_ID", "lab-1"),
    ("SKYCLAW_POLL_MS", "50"),
    ("SKYCLAW_HEARTBEAT_MS", "100"),
];

#[test]
fn jobs_of_an_old_coordinator_run_one_by_one() {
    let bed = Bed::without_coordinator();
    let old = serve(&bed);
    {
        let mut old = old.lock().unwrap();
        old.failures = 2;
        old.jobs.extend([
            leased(1, "sh", &["-c", "echo hi"]),
            leased(2, "sh", &["-c", "kill -9 $$"]),
            leased(3, "not-listed", &[]),
        ]);
    }
    let host = bed.host("lab", &VARS);
    eventually(SOON, || old.lock().unwrap().completed.len() == 3);
    let done = old.lock().unwrap().completed.clone();
    assert_eq!(done[0]["hostId"], "lab-1");
    assert_eq!(
        (&done[0]["success"], &done[0]["exitCode"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(done[0]["stdout"], "hi\n");
    assert!(done[0].get("leaseToken").is_none() && done[0].get("attempt").is_none());
    assert_eq!(
        (&done[1]["success"], &done[1]["exitCode"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(
        (&done[2]["exitCode"], &done[2]["error"]),
        (&json!(126), &json!("command not allowed: not-listed"))
    );
    host.wait_for_line(
        "completed job_0192f0c0-0000-4000-8000-000000000003: failed",
        SOON,
    );
    eventually(SOON, || {
        let old = old.lock().unwrap();
        old.heartbeats
            .last()
            .is_some_and(|beat| beat["activeLeases"] == json!(0.0))
    });
}

#[test]
fn an_old_coordinator_that_lost_its_database_is_told_again() {
    let bed = Bed::without_coordinator();
    let old = serve(&bed);
    let _host = bed.host("lab", &VARS);
    old.lock().unwrap().known = false;
    eventually(SOON, || old.lock().unwrap().registrations == 2);
    old.lock()
        .unwrap()
        .jobs
        .push_back(leased(4, "sh", &["-c", "exit 0"]));
    eventually(SOON, || old.lock().unwrap().completed.len() == 1);
}

#[test]
fn a_result_without_an_answer_is_handed_in_again() {
    let bed = Bed::without_coordinator();
    let old = serve(&bed);
    {
        let mut old = old.lock().unwrap();
        old.curt = true;
        old.failures = usize::MAX;
        old.jobs
            .extend([leased(5, "true", &[]), leased(6, "true", &[])]);
    }
    let vars = [VARS.as_slice(), &[("SKYCLAW_MAX_PARALLEL", "2")]].concat();
    let _host = bed.host("lab", &vars);
    eventually(SOON, || old.lock().unwrap().together == 2);
    old.lock().unwrap().failures = 0;
    eventually(SOON, || old.lock().unwrap().completed.len() == 2);
    let done = old.lock().unwrap().completed.clone();
    assert_ne!(done[0]["jobId"], done[1]["jobId"]);
    // Nor does the host go on holding it.
    eventually(SOON, || {
        let old = old.lock().unwrap();
        old.heartbeats
            .last()
            .is_some_and(|beat| beat["activeLeases"] == json!(0.0))
    });
}
