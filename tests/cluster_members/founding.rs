//! Coordinators that name each other and are started together, as deployments of the original do.

use crate::common::holds_within;
use crate::site::{Node, SOON, all_have, settled};

#[test]
fn three_that_name_each_other_found_one_cluster() {
    let mut nodes = Node::all(["a", "b", "c"]);
    let urls: Vec<String> = nodes.iter().map(Node::url).collect();
    let all: Vec<&str> = urls.iter().map(String::as_str).collect();
    std::thread::scope(|scope| {
        for node in &mut nodes {
            // Itself as well: the same setting goes to every machine.
            node.told_of(&all);
            scope.spawn(|| {
                node.start();
            });
        }
    });
    settled(&nodes.each_ref(), 3, 3);
    let clusters: Vec<_> = nodes
        .iter()
        .map(|node| node.get("/v1/network/peers")["cluster"].clone())
        .collect();
    assert!(
        clusters.iter().all(|cluster| *cluster == clusters[0]),
        "{clusters:?}"
    );
    let job = nodes[2].submit("one");
    all_have(&nodes.each_ref(), &job);
}

#[test]
fn nobody_founds_while_one_of_those_named_is_away() {
    let [mut a, mut b, c] = Node::all(["a", "b", "c"]);
    let (first, second, third) = (a.url(), b.url(), c.url());
    a.told_of(&[&second, &third]).start();
    b.told_of(&[&first, &third]).start();
    let line = a.logs("waits to join a cluster");
    assert!(line.contains("no connection"), "{line}");
    b.logs("waits to join a cluster");
    // It is well, and serves nothing.
    assert_eq!(a.get("/health")["nodeId"], "a");
    let refused = a
        .call("GET", "/v1/jobs", &serde_json::Value::Null)
        .expect(503);
    assert!(refused.to_string().contains("wait"), "{refused}");
    let peers = a.get("/v1/network/peers");
    assert_eq!(peers["members"][0]["role"], "waiting", "{peers}");
    let mut c = c;
    c.told_of(&[&first, &second]).start();
    settled(&[&a, &b, &c], 3, 3);
}

#[test]
fn a_chain_of_names_is_one_cluster() {
    let mut nodes = Node::all(["a", "b", "c", "d"]);
    let urls: Vec<String> = nodes.iter().map(Node::url).collect();
    for (at, next) in [(0, 1), (1, 2), (2, 3), (3, 2)] {
        nodes[at].told_of(&[&urls[next]]);
    }
    std::thread::scope(|scope| {
        for node in &mut nodes {
            scope.spawn(|| {
                node.start();
            });
        }
    });
    settled(&nodes.each_ref(), 4, 4);
}

#[test]
fn all_of_them_come_back_after_all_were_killed() {
    let mut nodes = Node::all(["a", "b", "c"]);
    let urls: Vec<String> = nodes.iter().map(Node::url).collect();
    let all: Vec<&str> = urls.iter().map(String::as_str).collect();
    for node in &mut nodes {
        node.told_of(&all).start();
    }
    settled(&nodes.each_ref(), 3, 3);
    let job = nodes[1].submit("before the power went");
    for node in &mut nodes {
        node.kill();
    }
    for node in &mut nodes {
        node.start();
    }
    settled(&nodes.each_ref(), 3, 3);
    assert!(holds_within(SOON, || nodes
        .iter()
        .all(|node| node.has(&job))));
}

#[test]
fn without_discovery_only_those_that_were_named_are_asked() {
    let [mut a, mut b, c] = Node::all(["a", "b", "c"]);
    let (first, second, third) = (a.url(), b.url(), c.url());
    a.env("SKYCLAW_PEER_DISCOVERY", "0")
        .told_of(&[&second])
        .start();
    b.env("SKYCLAW_PEER_DISCOVERY", "0")
        .told_of(&[&first, &third])
        .start();
    let line = a.logs("forbids to ask there");
    assert!(line.contains(&third), "{line}");
    // Named by both, and there is nobody else.
    a.stop();
    b.stop();
    a.told_of(&[&second]).start();
    b.told_of(&[&first]).start();
    settled(&[&a, &b], 2, 2);
}
