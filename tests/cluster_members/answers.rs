//! Answers that are lost: who asks again, at whichever member, is given the same leases.

use serde_json::{Value, json};

use crate::common::http::Http;
use crate::common::{Running, eventually};
use crate::lossy::Lossy;
use crate::site::{Node, SOON, leader};

const CLAIM: &str = "/v1/hosts/h/claim";

fn named(node: &Node, name: &str, max: u16) -> Option<Value> {
    claim(node.address(), name, &json!({"max": max}))
}

fn claim(to: std::net::SocketAddr, name: &str, body: &Value) -> Option<Value> {
    let http = Http::connect(to).ok()?;
    let mut http = http.with("x-skyclaw-request", name);
    let reply = http.send("POST", CLAIM, body.to_string().as_bytes()).ok()?;
    (reply.status == 200).then(|| reply.json()["jobs"].clone())
}

/// Which try of which job, and its proof.
fn lease(job: &Value) -> [Value; 3] {
    ["id", "attempts", "leaseToken"].map(|field| job[field].clone())
}

#[track_caller]
fn register(node: &Node, slots: u16) -> Value {
    let host = json!({"name": "h", "hostId": "h", "capabilities": ["shell"], "maxParallel": slots});
    let registered = node.call("POST", "/v1/hosts/register", &host);
    registered.expect(200).json()
}

#[test]
fn a_claim_whose_answer_was_lost_gives_the_same_lease_at_any_member_and_after_the_leaders_death() {
    let mut nodes = Node::three();
    let leads = leader(&nodes.each_ref());
    let (one, other) = ((leads + 1) % 3, (leads + 2) % 3);
    register(&nodes[one], 4);
    let jobs = [nodes[one].submit("1"), nodes[one].submit("2")];
    let lossy = Lossy::before(nodes[one].address());
    assert_eq!(claim(lossy.address, "r", &json!({"max": 1})), None);
    assert!(lossy.has_lost());
    let again = named(&nodes[other], "r", 1).unwrap();
    assert_eq!(again.as_array().unwrap().len(), 1, "{again}");
    let first = lease(&again[0]);
    assert_eq!(first[0], jobs[0].as_str());
    assert_eq!(first[1], 1);
    // Also if it would take more by now.
    assert_eq!(lease(&named(&nodes[leads], "r", 4).unwrap()[0]), first);
    nodes[leads].kill();
    let mut after = Value::Null;
    eventually(SOON, || match named(&nodes[other], "r", 1) {
        Some(jobs) => {
            after = jobs;
            true
        }
        None => false,
    });
    assert_eq!(after.as_array().unwrap().len(), 1, "{after}");
    assert_eq!(lease(&after[0]), first, "the new leader knows of it");
    let state = nodes[one].get("/v1/state");
    assert_eq!(state["hosts"][0]["activeLeases"], 1, "{state}");
    let next = named(&nodes[one], "s", 1).unwrap();
    assert_eq!(next[0]["id"], jobs[1].as_str(), "another name, another job");
    // What is over is not given again.
    let done = json!({"hostId": "h", "success": true, "attempt": 1, "leaseToken": first[2],
        "result": {"exitCode": 0, "stdout": "", "stderr": "", "durationMs": 1}});
    let path = format!("/v1/jobs/{}/complete", jobs[0]);
    nodes[one].call("POST", &path, &done).expect(200);
    assert_eq!(named(&nodes[one], "r", 1), Some(json!([])));
}

#[test]
fn work_that_was_waited_for_comes_again_when_its_answer_was_lost() {
    let nodes = Node::three();
    let leads = leader(&nodes.each_ref());
    let (one, other) = (&nodes[(leads + 1) % 3], &nodes[(leads + 2) % 3]);
    let before = register(one, 4);
    let lossy = Lossy::before(one.address());
    let waits = json!({"max": 1, "waitMs": 30_000});
    let answer = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| claim(lossy.address, "r", &waits));
        // Registering is being heard of, too: a claim is heard of later.
        eventually(SOON, || {
            let host = &one.get("/v1/hosts")["hosts"][0];
            host["lastSeenAt"] != before["host"]["lastSeenAt"]
        });
        one.submit("1");
        waiting.join().unwrap()
    });
    assert_eq!(answer, None);
    assert!(lossy.has_lost());
    one.submit("2");
    let again = claim(other.address(), "r", &waits).unwrap();
    assert_eq!(again.as_array().unwrap().len(), 1, "{again}");
    assert_eq!(again[0]["payload"]["args"], json!(["1"]));
    assert_eq!(
        lease(&claim(one.address(), "r", &waits).unwrap()[0]),
        lease(&again[0])
    );
}

#[test]
fn a_host_that_lost_the_answer_to_its_claim_runs_the_job_once() {
    let nodes = Node::three();
    let leads = leader(&nodes.each_ref());
    let (one, other) = (&nodes[(leads + 1) % 3], &nodes[(leads + 2) % 3]);
    let home = tempfile::tempdir().unwrap();
    let ran = home.path().join("ran");
    let script = |mark: &str| {
        let line = format!("echo {mark} >> {}", ran.display());
        let body = json!({"payload": {"kind": "shell", "command": "sh", "args": ["-c", line]}});
        let reply = one.call("POST", "/v1/jobs", &body).expect(200).json();
        reply["job"]["id"].as_str().unwrap().to_owned()
    };
    let jobs = ["1", "2", "3"].map(script);
    let lossy = Lossy::before(one.address());
    let mut command = one.skyclaw(&["host"]);
    command
        .env("HOME", home.path())
        .env(
            "SKYCLAW_COORDINATOR_URLS",
            format!("{},{}", lossy.url(), other.url()),
        )
        .env("SKYCLAW_HOST_ID", "h")
        .env("SKYCLAW_HOST_NAME", "h")
        .env("SKYCLAW_MAX_PARALLEL", "1")
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh")
        .current_dir(home.path());
    let host = Running::start(command, None);
    for job in &jobs {
        let path = format!("/v1/jobs/{job}");
        let mut seen = Value::Null;
        eventually(SOON, || {
            seen = other.get(&path)["job"].clone();
            seen["status"] == "completed"
        });
        assert_eq!(seen["attempts"], 1, "{seen}");
    }
    assert!(lossy.has_lost());
    // In their order: the first one did not lie about until the host's silence gave it away.
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "1\n2\n3\n");
    host.terminate();
    host.wait(SOON);
}
