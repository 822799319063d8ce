//! Everybody at once: claims after a restart, equal requests with one key.

use std::collections::HashSet;
use std::sync::Mutex;

use serde_json::json;

use crate::common::coordinator::Plan;
use crate::common::http::Http;

#[test]
fn ten_thousand_claims_after_a_restart_give_each_job_once() {
    const HOSTS: usize = 50;
    const ROUNDS: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::new(dir.path());
    let coordinator = plan.start();
    let jobs: Vec<_> = (0..1000)
        .map(|n| json!({"payload": {"kind": "shell", "command": "true", "args": [n.to_string()]}}))
        .collect();
    coordinator.post("/v1/jobs/batch", &json!({ "jobs": jobs }));
    for n in 0..HOSTS {
        let host = format!("h{n}");
        let body =
            json!({"name": host, "hostId": host, "capabilities": ["shell"], "maxParallel": 100});
        coordinator.post("/v1/hosts/register", &body);
    }
    coordinator.kill();
    let coordinator = plan.start();
    let to = coordinator.address;
    let given = Mutex::new(HashSet::new());
    std::thread::scope(|scope| {
        for n in 0..HOSTS {
            let given = &given;
            scope.spawn(move || {
                let mut http = Http::connect(to).unwrap();
                for _ in 0..ROUNDS {
                    let path = format!("/v1/hosts/h{n}/claim");
                    let reply = http
                        .send("POST", &path, b"{\"max\":1}")
                        .unwrap()
                        .expect(200);
                    for job in reply.json()["jobs"].as_array().unwrap() {
                        let id = job["id"].as_str().unwrap().to_owned();
                        assert!(given.lock().unwrap().insert(id), "given twice");
                    }
                }
            });
        }
    });
    assert_eq!(given.lock().unwrap().len(), 1000);
}

#[test]
fn fifty_equal_requests_with_one_key_make_one_job() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Plan::new(dir.path()).start();
    let to = coordinator.address;
    let answers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for n in 0..50 {
            let answers = &answers;
            scope.spawn(move || {
                let mut http = Http::connect(to)
                    .unwrap()
                    .with("x-idempotency-key", "order-17");
                // The same JSON in another order is the same request.
                let body = if n % 2 == 0 {
                    r#"{"payload":{"kind":"shell","command":"true"},"submittedBy":"me"}"#
                } else {
                    r#"{ "submittedBy":"me","payload":{"command":"true","kind":"shell"} }"#
                };
                let reply = http.send("POST", "/v1/jobs", body.as_bytes()).unwrap();
                answers.lock().unwrap().push(reply.expect(200));
            });
        }
    });
    let answers = answers.into_inner().unwrap();
    let ids: HashSet<String> = answers
        .iter()
        .map(|reply| reply.json()["job"]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let replayed = answers
        .iter()
        .filter(|reply| reply.header("idempotency-replayed") == Some("true"))
        .count();
    assert_eq!(replayed, 49);
    assert_eq!(
        coordinator.get("/v1/jobs")["jobs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let mut other = Http::connect(to)
        .unwrap()
        .with("x-idempotency-key", "order-17");
    let body = br#"{"payload":{"kind":"shell","command":"false"}}"#;
    let reply = other.send("POST", "/v1/jobs", body).unwrap().expect(409);
    let said = reply.json()["error"].as_str().unwrap().to_owned();
    assert_eq!(said, "idempotency key reuse conflict for route /v1/jobs");
}
