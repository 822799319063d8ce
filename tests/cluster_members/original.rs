//! A queue that was there before anybody joined it: a file of a lone coordinator, a state of the original.

use serde_json::{Value, json};

use crate::site::{Node, all_have, settled};

#[test]
fn the_database_of_a_lone_coordinator_becomes_that_of_a_cluster() {
    let [mut a, mut b, mut c] = Node::all(["a", "b", "c"]);
    a.start();
    let mut jobs: Vec<String> = (0..20)
        .map(|number| a.submit(&number.to_string()))
        .collect();
    a.stop();
    // Another life in between, so that none of it is in any log.
    a.start();
    jobs.push(a.submit("in its second life"));
    b.told_of(&[&a.url()]).start();
    c.told_of(&[&b.url()]).start();
    settled(&[&a, &b, &c], 3, 3);
    // Until then the change is half done, and needs all who were there before.
    a.logs("voters=3");
    for job in &jobs {
        all_have(&[&b, &c], job);
    }
    // Without the one that had it first.
    a.kill();
    jobs.push(c.submit("the first one is dead"));
    let listed = b.get("/v1/jobs?limit=100");
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(jobs.len()));
}

#[test]
fn a_state_of_the_original_is_taken_over_by_the_whole_cluster_once() {
    let [mut a, mut b, mut c] = Node::all(["a", "b", "c"]);
    a.start();
    b.told_of(&[&a.url()]).start();
    c.told_of(&[&a.url()]).start();
    settled(&[&a, &b, &c], 3, 3);
    let id = |number: u32| format!("job_00000000-0000-4000-8000-{number:012}");
    let jobs: Vec<Value> = (0..700)
        .map(|number| {
            let status = match number % 4 {
                0 => "queued",
                1 => "leased",
                2 => "completed",
                _ => "failed",
            };
            json!({
                "id": id(number), "status": status, "attempts": number % 3, "version": 4,
                "updatedBy": "node_1", "createdAt": "2026-01-01T00:00:00.000Z",
                "updatedAt": "2026-01-02T00:00:00.000Z", "assignedHostId": "lab-1",
                "requirement": {"requiredCapabilities": ["shell"]},
                "payload": {"kind": "shell", "command": "true"},
                "result": {"finishedAt": "2026-01-02T00:00:00.000Z", "durationMs": 1, "exitCode": 0,
                           "stdout": "ok", "stderr": ""},
            })
        })
        .collect();
    let state = json!({
        "nodeId": "node_1", "jobs": jobs,
        "hosts": [{"id": "lab-1", "name": "Lab", "capabilities": ["shell"], "maxParallel": 2,
                   "activeLeases": 1, "registeredAt": "2026-01-01T00:00:00.000Z"}, {"id": 7}],
        "services": [],
    });
    let done = b
        .call("POST", "/v1/replicate/snapshot", &state)
        .expect(200)
        .json();
    assert_eq!(
        (
            &done["ok"],
            &done["changed"],
            &done["jobs"],
            &done["hosts"],
            &done["skipped"]
        ),
        (
            &json!(true),
            &json!(true),
            &json!(700),
            &json!(1),
            &json!(1)
        ),
        "{done}"
    );
    all_have(&[&a, &b, &c], &id(699));
    let counts = c.get("/v1/queue");
    assert_eq!(
        (&counts["counts"]["queued"], &counts["counts"]["leased"]),
        (&json!(350), &json!(0)),
        "{counts}"
    );
    // The same again is no news; anything else is refused.
    let again = c
        .call("POST", "/v1/replicate/snapshot", &state)
        .expect(200)
        .json();
    assert_eq!(again["changed"], false);
    let other = json!({"jobs": [], "hosts": []});
    a.call("POST", "/v1/replicate/snapshot", &other).expect(409);
}
