//! The coordinator is killed at random moments under load, again and again.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::coordinator::{Coordinator, Plan};
use crate::common::http::Http;

/// How many times it is killed; `SKYCLAW_TEST_KILLS=200` for the long run.
pub fn rounds(usual: u32) -> u32 {
    let asked = std::env::var("SKYCLAW_TEST_KILLS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What clients were told, over all lives of the coordinator.
#[derive(Default)]
pub struct Told {
    /// Jobs whose submit was answered.
    submitted: Mutex<HashSet<String>>,
    /// Jobs and attempts whose completion was answered as the valid one.
    completed: Mutex<HashMap<String, Vec<u64>>>,
    requests: AtomicU64,
}

impl Told {
    /// Puts the coordinator under load, and kills it after `moment`.
    pub fn load(&self, coordinator: Coordinator, round: u32, moment: Duration) {
        let to = coordinator.address;
        std::thread::scope(|scope| {
            for n in 0..4 {
                scope.spawn(move || submit(to, self, &format!("r{round}c{n}")));
            }
            for n in 0..3 {
                scope.spawn(move || work(to, self, &format!("host{n}")));
            }
            std::thread::sleep(moment);
            coordinator.kill();
        });
    }

    /// Asserts that whatever was answered is still so.
    pub fn check(&self, coordinator: &Coordinator) {
        let submitted = self.submitted.lock().unwrap();
        let completed = self.completed.lock().unwrap();
        assert!(
            submitted.len() > 100 && completed.len() > 20,
            "{} submitted, {} completed: too little happened",
            submitted.len(),
            completed.len()
        );
        let mut known = HashMap::new();
        let mut cursor = String::new();
        loop {
            let page = coordinator.get(&format!("/v1/jobs?limit=500{cursor}"));
            for job in page["jobs"].as_array().unwrap() {
                known.insert(job["id"].as_str().unwrap().to_owned(), job.clone());
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        for id in submitted.iter() {
            assert!(known.contains_key(id), "{id} was acknowledged and is gone");
        }
        for (id, attempts) in completed.iter() {
            let job = &known[id];
            assert_eq!(job["status"], "completed", "{job}");
            // Told twice is fine if it is the same attempt (its first answer got lost).
            let valid = job["result"]["stdout"].as_str().unwrap();
            for attempt in attempts {
                assert_eq!(valid, format!("{id} {attempt}"), "two attempts were valid");
            }
        }
        eprintln!(
            "{} jobs acknowledged, {} completed",
            submitted.len(),
            completed.len()
        );
    }
}

/// Submits until the coordinator is gone.
fn submit(to: SocketAddr, told: &Told, name: &str) {
    let Ok(mut http) = Http::connect(to) else {
        return;
    };
    for n in 0.. {
        let body = json!({
            "payload": {"kind": "shell", "command": "true", "args": [format!("{name}-{n}")]},
            "requirement": {"requiredCapabilities": ["shell"]},
        });
        let Ok(reply) = http.send("POST", "/v1/jobs", body.to_string().as_bytes()) else {
            return;
        };
        let id = reply.expect(200).json()["job"]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            told.submitted.lock().unwrap().insert(id),
            "an id came twice"
        );
        told.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// Claims and completes until the coordinator is gone.
fn work(to: SocketAddr, told: &Told, host: &str) {
    let Ok(mut http) = Http::connect(to) else {
        return;
    };
    let mut post = |path: &str, body: Value| -> Option<Value> {
        let reply = http.send("POST", path, body.to_string().as_bytes()).ok()?;
        (reply.status == 200 || reply.status == 409).then(|| reply.json())
    };
    let register =
        json!({"name": host, "hostId": host, "capabilities": ["shell"], "maxParallel": 50});
    if post("/v1/hosts/register", register).is_none() {
        return;
    }
    while let Some(given) = post(&format!("/v1/hosts/{host}/claim"), json!({"max": 3})) {
        for job in given["jobs"].as_array().unwrap() {
            let id = job["id"].as_str().unwrap();
            let attempt = job["attempts"].as_u64().unwrap();
            let done = json!({
                "hostId": host, "success": true, "durationMs": 1, "exitCode": 0,
                "stdout": format!("{id} {attempt}"), "stderr": "",
                "attempt": attempt, "leaseToken": job["leaseToken"],
            });
            let Some(answer) = post(&format!("/v1/jobs/{id}/complete"), done) else {
                return;
            };
            if answer["job"]["status"] == "completed" {
                let mut completed = told.completed.lock().unwrap();
                completed.entry(id.to_owned()).or_default().push(attempt);
            }
        }
    }
}

#[test]
fn killed_again_and_again_it_loses_nothing_and_ends_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::new(dir.path()).env("SKYCLAW_LEASE_MS", "2000");
    let told = Told::default();
    for round in 0..rounds(12) {
        let coordinator = plan.start();
        // Another moment in each round: from the first requests to the middle of the load.
        let moment = u64::from(round).wrapping_mul(7919) % 160;
        told.load(coordinator, round, Duration::from_millis(20 + moment));
    }
    let coordinator = plan.start();
    told.check(&coordinator);
    assert_eq!(coordinator.stop(), Some(0));
}
