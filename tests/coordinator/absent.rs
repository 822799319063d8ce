//! A coordinator that was stopped for a while, less than a whole heartbeat, with leases as short as that.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::common::coordinator::Plan;

const LEASE: Duration = Duration::from_millis(3000);

#[test]
fn leases_do_not_end_while_nobody_could_renew_them() {
    let dir = tempfile::tempdir().unwrap();
    let lease_ms = LEASE.as_millis().to_string();
    let coordinator = Plan::new(dir.path())
        .args(&["--lease-ms", &lease_ms])
        .start();
    let host = json!({"name": "a", "hostId": "a", "maxParallel": 1});
    coordinator.post("/v1/hosts/register", &host);
    let job = json!({"payload": {"kind": "shell", "command": "true"}});
    let id = coordinator.post("/v1/jobs", &job)["job"]["id"].clone();
    let path = format!("/v1/jobs/{}", id.as_str().unwrap());
    let claimed = coordinator.post("/v1/hosts/a/claim", &json!({"max": 1}));
    assert_eq!(claimed["jobs"][0]["id"], id);
    coordinator.signal(Signal::STOP);
    // It is time itself that must pass: longer than the lease, shorter than what any lease would notice.
    std::thread::sleep(LEASE + Duration::from_millis(300));
    coordinator.signal(Signal::CONT);
    let back = Instant::now();
    while back.elapsed() < LEASE / 3 {
        let seen = coordinator.get(&path);
        assert_eq!(seen["job"]["status"], "leased", "{seen}");
        assert_eq!(seen["job"]["attempts"], 1, "{seen}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
