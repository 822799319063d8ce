//! Joining: through anybody, two at once, and what a newcomer has then.

use serde_json::{Value, json};

use crate::common::{Running, eventually};
use crate::site::{Node, SOON, all_have, leader, settled};

#[test]
fn three_commands_make_three_coordinators_one_queue() {
    let [mut a, mut b, mut c] = Node::all(["a", "b", "c"]);
    a.start();
    let before = a.submit("before anybody joined");
    b.told_of(&[&a.url()]).start();
    // Knows only b, and may ask it before b itself belongs anywhere.
    c.told_of(&[&b.url()]).start();
    settled(&[&a, &b, &c], 3, 3);
    all_have(&[&a, &b, &c], &before);
    for (node, mark) in [(&a, "at a"), (&b, "at b"), (&c, "at c")] {
        let job = node.submit(mark);
        all_have(&[&a, &b, &c], &job);
    }
    // As the original says it: each names all others.
    let peers = b.get("/v1/network/peers");
    let mut urls: Vec<&str> = peers["peers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|url| url.as_str().unwrap())
        .collect();
    urls.sort_unstable();
    let (first, third) = (a.url(), c.url());
    let mut others = [first.as_str(), third.as_str()];
    others.sort_unstable();
    assert_eq!(urls, others);
    assert_eq!(
        (&peers["nodeId"], &peers["self"]),
        (&json!("b"), &json!(b.url()))
    );
}

#[test]
fn one_that_dies_is_not_missed_and_comes_back_as_itself() {
    let [mut a, mut b, mut c] = Node::all(["a", "b", "c"]);
    a.start();
    b.told_of(&[&a.url()]).start();
    c.told_of(&[&a.url()]).start();
    settled(&[&a, &b, &c], 3, 3);
    a.logs("voters=3");
    let mut nodes = [a, b, c];
    let lost = leader(&nodes.each_ref());
    nodes[lost].kill();
    let rest: Vec<&Node> = nodes
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != lost)
        .map(|(_, node)| node)
        .collect();
    let job = rest[0].submit("while one is dead");
    all_have(&rest, &job);
    nodes[lost].start();
    settled(&nodes.each_ref(), 3, 3);
    all_have(&nodes.each_ref(), &job);
}

#[test]
fn two_that_join_at_once_both_get_in() {
    let [mut a, mut b, mut c] = Node::all(["a", "b", "c"]);
    a.start();
    let url = a.url();
    std::thread::scope(|scope| {
        for node in [&mut b, &mut c] {
            let url = url.clone();
            scope.spawn(move || {
                node.told_of(&[&url]).start();
            });
        }
    });
    settled(&[&a, &b, &c], 3, 3);
}

#[test]
fn the_queue_goes_on_while_others_join_it() {
    let [mut a, mut b, mut c] = Node::all(["a", "b", "c"]);
    a.start();
    let mut jobs: Vec<String> = Vec::new();
    let (told, joined) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let first = &a;
        let jobs = &mut jobs;
        scope.spawn(move || {
            let mut number = 0;
            while joined.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                number += 1;
                let body =
                    json!({"payload": {"kind": "shell", "command": "true", "args": [number.to_string()]}});
                let reply = first.call("POST", "/v1/jobs", &body).expect(200);
                jobs.push(reply.json()["job"]["id"].as_str().unwrap().to_owned());
            }
        });
        b.told_of(&[&first.url()]).start();
        c.told_of(&[&first.url()]).start();
        settled(&[first, &b, &c], 3, 3);
        drop(told);
    });
    assert!(!jobs.is_empty());
    for job in &jobs {
        all_have(&[&a, &b, &c], job);
    }
}

#[test]
fn a_sixth_has_everything_and_no_vote_until_one_of_the_five_is_removed() {
    let mut nodes = Node::all(["a", "b", "c", "d", "e", "f"]);
    nodes[0].start();
    let url = nodes[0].url();
    for node in &mut nodes[1..] {
        node.told_of(&[&url]).start();
    }
    settled(&nodes.each_ref(), 6, 5);
    let job = nodes[5].submit("six");
    all_have(&nodes.each_ref(), &job);
    // Removed while it is away, it hears of it when it comes back, though it waits for no leader.
    let last = nodes.iter().position(|node| {
        let peers = node.peers().unwrap_or_default();
        let members = peers["members"].as_array().cloned().unwrap_or_default();
        let mut own = members
            .iter()
            .filter(|member| member["name"] == node.name.as_str());
        own.any(|member| member["voter"] == false)
    });
    let last = last.unwrap();
    nodes[last].kill();
    let body = json!({"name": nodes[last].name});
    let others: Vec<&Node> = nodes
        .iter()
        .filter(|node| node.name != nodes[last].name)
        .collect();
    others[0]
        .call("POST", "/v1/network/remove", &body)
        .expect(200);
    settled(&others, 5, 5);
    let ended = Running::start(nodes[last].command(), None)
        .wait(SOON)
        .expect_code(1);
    assert!(ended.err().contains("removed from its cluster"), "{ended}");
    nodes[last].wipe();
    nodes[last].told_of(&[&nodes[(last + 1) % 6].url()]);
    nodes[last].start();
    settled(&nodes.each_ref(), 6, 5);
    let leads = leader(&nodes.each_ref());
    let peers = nodes[leads].get("/v1/network/peers");
    let goes = peers["members"]
        .as_array()
        .unwrap()
        .iter()
        .find(|member| member["voter"] == true && member["leader"] == false);
    let goes = goes.unwrap()["name"].as_str().unwrap().to_owned();
    let body = json!({"name": goes});
    nodes[leads]
        .call("POST", "/v1/network/remove", &body)
        .expect(200);
    let left: Vec<&Node> = nodes.iter().filter(|node| node.name != goes).collect();
    settled(&left, 5, 5);
}

#[test]
fn one_that_listens_everywhere_learns_its_address_from_the_others() {
    let [mut a, mut b] = Node::all(["a", "b"]);
    for node in [&mut a, &mut b] {
        node.everywhere().env("SKYCLAW_TOKEN", "of-everybody");
    }
    a.start();
    assert_eq!(a.get("/v1/network/peers").get("self"), None::<&Value>);
    b.told_of(&[&a.url()]).start();
    settled(&[&a, &b], 2, 2);
    for (node, other) in [(&a, &b), (&b, &a)] {
        let peers = node.get("/v1/network/peers");
        assert_eq!(peers["self"], node.url());
        assert_eq!(peers["peers"], json!([other.url()]));
    }
}

#[test]
fn one_that_is_alone_and_empty_joins_when_it_is_named() {
    let [mut a, mut b] = Node::all(["a", "b"]);
    a.start();
    b.start();
    let body = json!({"url": b.url()});
    let reply = a.call("POST", "/v1/network/join", &body).expect(200).json();
    assert_eq!(reply["ok"], true);
    settled(&[&a, &b], 2, 2);
    // Said again it is no news.
    a.call("POST", "/v1/network/join", &body).expect(200);
    settled(&[&a, &b], 2, 2);
}

#[test]
fn one_that_comes_back_at_another_address_is_found_there() {
    let mut nodes = Node::three();
    let moved = (leader(&nodes.each_ref()) + 1) % 3;
    nodes[moved].stop();
    nodes[moved].move_away().start();
    settled(&nodes.each_ref(), 3, 3);
    let url = nodes[moved].url();
    for node in &nodes {
        eventually(SOON, || {
            let peers = node.peers().unwrap_or_default();
            let members = peers["members"].as_array().cloned().unwrap_or_default();
            members.iter().any(|member| member["url"] == url.as_str())
        });
    }
    let job = nodes[moved].submit("through the one that moved");
    all_have(&nodes.each_ref(), &job);
}
