//! A leader that is stopped, or leaves, hands over first: the others need not miss it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::site::{Node, SOON, all_have, leader, settled};

const HANDED_OVER: &str = "another member leads now";

/// Submits through `node` without a pause until `over`. Returns the longest time between two that were taken, and all of them.
fn submitting(node: &Node, over: &AtomicBool) -> (Duration, Vec<String>) {
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    let mut jobs = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let body = json!({"payload": {"kind": "shell", "command": "true"}});
        let reply = node.try_call("POST", "/v1/jobs", &body);
        if let Some(reply) = reply.filter(|reply| reply.status == 200) {
            longest = longest.max(last.elapsed());
            last = Instant::now();
            jobs.push(reply.json()["job"]["id"].as_str().unwrap().to_owned());
        }
    }
    (longest, jobs)
}

fn term(node: &Node) -> u64 {
    node.get("/v1/state?consistency=local")["term"]
        .as_u64()
        .unwrap()
}

#[test]
fn a_leader_that_is_stopped_hands_over_under_load() {
    let mut nodes = Node::three();
    let mut handed_over = 0;
    for _ in 0..3 {
        let leads = leader(&nodes.each_ref());
        let before = term(&nodes[leads]);
        let running = nodes[leads].take();
        let follower = &nodes[(leads + 1) % 3];
        let over = AtomicBool::new(false);
        let (longest, jobs, ended) = std::thread::scope(|scope| {
            let load = scope.spawn(|| submitting(follower, &over));
            std::thread::sleep(Duration::from_millis(300));
            running.terminate();
            let ended = running.wait(SOON).expect_code(0);
            follower.submit("after");
            over.store(true, Ordering::SeqCst);
            let (longest, jobs) = load.join().unwrap();
            (longest, jobs, ended)
        });
        // A machine that is too busy may need longer than is waited for.
        handed_over += usize::from(ended.err().contains(HANDED_OVER));
        eprintln!("longest wait for a write at a clean stop: {longest:?}");
        assert!(term(follower) > before);
        let others = [follower, &nodes[(leads + 2) % 3]];
        for job in &jobs {
            all_have(&others, job);
        }
        nodes[leads].start();
        settled(&nodes.each_ref(), 3, 3);
    }
    assert!(handed_over > 0, "it never handed over");
}

#[test]
fn a_leader_of_five_hands_over_too() {
    let mut nodes = Node::all(["a", "b", "c", "d", "e"]);
    nodes[0].start();
    let first = nodes[0].url();
    for node in &mut nodes[1..] {
        node.told_of(&[&first]).start();
    }
    settled(&nodes.each_ref(), 5, 5);
    let leads = leader(&nodes.each_ref());
    let running = nodes[leads].take();
    running.terminate();
    let ended = running.wait(SOON).expect_code(0);
    assert!(ended.err().contains(HANDED_OVER), "{ended}");
    nodes[(leads + 1) % 5].submit("after");
}

#[test]
fn a_leader_that_leaves_hands_over_and_one_without_others_to_ask_does_not_wait() {
    let mut nodes = Node::three();
    let leads = leader(&nodes.each_ref());
    let running = nodes[leads].running();
    nodes[leads]
        .call("POST", "/v1/network/leave", &Value::Null)
        .expect(200);
    running.wait_for_error_line(HANDED_OVER, SOON);
    nodes[leads].ended().expect_code(0);
    let (one, other) = ((leads + 1) % 3, (leads + 2) % 3);
    settled(&[&nodes[one], &nodes[other]], 2, 2);
    // Nobody answers: it stops all the same.
    let leads = match leader(&[&nodes[one], &nodes[other]]) {
        0 => (one, other),
        _ => (other, one),
    };
    nodes[leads.1].kill();
    nodes[leads.0].stop();
}
