//! Members go: of their own accord, or because somebody removes them.

use serde_json::{Value, json};

use crate::common::Running;
use crate::site::{Node, SOON, all_have, leader, settled};

/// Splits off one of them.
fn without(nodes: &[Node; 3], one: usize) -> Vec<&Node> {
    nodes
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != one)
        .map(|(_, node)| node)
        .collect()
}

#[test]
fn a_follower_leaves_and_ends() {
    let mut nodes = Node::three();
    let goes = (leader(&nodes.each_ref()) + 1) % 3;
    let url = nodes[goes].url();
    let ended = nodes[0]
        .run(&["peer", "leave", "--coordinator", &url])
        .expect_code(0);
    assert!(ended.out().contains("has left"), "{ended}");
    nodes[goes].ended().expect_code(0);
    settled(&without(&nodes, goes), 2, 2);
    let job = without(&nodes, goes)[0].submit("after");
    all_have(&without(&nodes, goes), &job);
    // What it has is out of date: it does not serve it.
    let ended = Running::start(nodes[goes].command(), None)
        .wait(SOON)
        .expect_code(1);
    assert!(ended.err().contains("removed from its cluster"), "{ended}");
    // As a new member it may come back.
    nodes[goes].wipe();
    let through = without(&nodes, goes)[0].url();
    nodes[goes].told_of(&[&through]).start();
    settled(&nodes.each_ref(), 3, 3);
    all_have(&nodes.each_ref(), &job);
}

#[test]
fn the_leader_leaves_and_another_one_leads() {
    let mut nodes = Node::three();
    let goes = leader(&nodes.each_ref());
    nodes[goes]
        .call("POST", "/v1/network/leave", &Value::Null)
        .expect(200);
    nodes[goes].ended().expect_code(0);
    settled(&without(&nodes, goes), 2, 2);
    let job = without(&nodes, goes)[1].submit("after");
    all_have(&without(&nodes, goes), &job);
}

#[test]
fn the_leader_is_removed_by_somebody_else() {
    let mut nodes = Node::three();
    let goes = leader(&nodes.each_ref());
    let name = nodes[goes].name.clone();
    let through = without(&nodes, goes)[0].url();
    nodes[0]
        .run(&["peer", "remove", &name, "--coordinator", &through])
        .expect_code(0);
    let ended = nodes[goes].ended().expect_code(1);
    assert!(ended.err().contains("removed from its cluster"), "{ended}");
    settled(&without(&nodes, goes), 2, 2);
    without(&nodes, goes)[0].submit("after");
}

#[test]
fn the_last_one_does_not_leave() {
    let [mut a, mut b] = Node::all(["a", "b"]);
    a.start();
    b.told_of(&[&a.url()]).start();
    settled(&[&a, &b], 2, 2);
    b.call("POST", "/v1/network/leave", &Value::Null)
        .expect(200);
    b.ended().expect_code(0);
    settled(&[&a], 1, 1);
    let refused = a
        .call("POST", "/v1/network/leave", &Value::Null)
        .expect(409);
    assert!(
        refused.to_string().contains("the only one with a vote"),
        "{refused}"
    );
    a.submit("goes on");
}

#[test]
fn one_that_is_dead_is_removed_and_one_too_many_is_not() {
    let mut nodes = Node::three();
    let leads = leader(&nodes.each_ref());
    let (dead, alive) = ((leads + 1) % 3, (leads + 2) % 3);
    nodes[dead].kill();
    // With two voters left of whom one is dead, nothing could be written.
    let body = json!({"name": nodes[alive].name});
    let refused = nodes[leads]
        .call("POST", "/v1/network/remove", &body)
        .expect(409);
    assert!(refused.to_string().contains("do not answer"), "{refused}");
    let id = {
        let peers = nodes[leads].get("/v1/network/peers");
        let members = peers["members"].as_array().unwrap();
        let one = members
            .iter()
            .find(|member| member["name"] == nodes[dead].name.as_str());
        one.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let through = nodes[alive].url();
    nodes[alive]
        .run(&["peer", "remove", &id, "--coordinator", &through])
        .expect_code(0);
    settled(&without(&nodes, dead), 2, 2);
    // It comes back, and learns that it is none any more.
    let ended = Running::start(nodes[dead].command(), None)
        .wait(SOON)
        .expect_code(1);
    assert!(ended.err().contains("removed from its cluster"), "{ended}");
    let unknown = nodes[alive].call("POST", "/v1/network/remove", &json!({"name": "nobody"}));
    unknown.expect(404);
}

#[test]
fn the_dead_one_of_two_is_not_removed_and_it_is_said_why() {
    let [mut a, mut b] = Node::all(["a", "b"]);
    a.start();
    b.told_of(&[&a.url()]).start();
    settled(&[&a, &b], 2, 2);
    a.logs("voters=2");
    b.kill();
    let url = a.url();
    let refused = a
        .run(&["peer", "remove", "b", "--coordinator", &url])
        .expect_code(1);
    // Whether it still leads depends on who is faster.
    assert!(refused.err().contains("too few of them"), "{refused}");
    // Nothing of it comes about later.
    b.start();
    settled(&[&a, &b], 2, 2);
    a.submit("both go on");
}
