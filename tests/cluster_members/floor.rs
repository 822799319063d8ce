//! `SKYCLAW_MIN_REPLICATIONS`: writes wait for enough coordinators, reads do not.

use serde_json::{Value, json};

use crate::common::eventually;
use crate::site::{Node, SOON, settled};

#[test]
fn writes_begin_when_a_majority_is_as_many_as_asked_for() {
    let [mut a, mut b] = Node::all(["a", "b"]);
    a.env("SKYCLAW_MIN_REPLICATIONS", "2").start();
    let job = json!({"payload": {"kind": "shell", "command": "true"}});
    let refused = a.call("POST", "/v1/jobs", &job).expect(503).json();
    let text = "insufficient peers: requires at least 1 known peers, got 0";
    assert_eq!(refused["error"], text);
    a.get("/v1/jobs");
    b.env("SKYCLAW_MIN_REPLICATIONS", "2")
        .told_of(&[&a.url()])
        .start();
    settled(&[&a, &b], 2, 2);
    b.submit("two have it");
    // Down to one vote again: refused, not forgotten.
    b.call("POST", "/v1/network/leave", &Value::Null)
        .expect(200);
    b.ended().expect_code(0);
    eventually(SOON, || a.call("POST", "/v1/jobs", &job).status == 503);
    assert_eq!(a.get("/v1/jobs")["jobs"].as_array().map(Vec::len), Some(1));
}
