//! The last survivor goes on alone, because a person decides it; nobody comes back into what it was.

use std::path::Path;

use crate::common::{Output, Running, eventually};
use crate::site::{Node, SOON, leader, settled};

/// Has a coordinator that is stopped go on alone, as its owner would.
fn force(node: &Node, db: &Path, args: &[&str]) -> Output {
    let words = ["peer", "remove", "--force-new-cluster", "--db"];
    node.run(&[&words[..], &[db.to_str().unwrap()], args].concat())
}

#[test]
fn the_last_survivor_becomes_a_new_cluster_and_the_old_members_stay_out() {
    let nodes = Node::three();
    let job = nodes[0].submit("acknowledged");
    crate::site::all_have(&nodes.each_ref(), &job);
    let [mut a, mut b, mut c] = nodes;
    b.kill();
    c.kill();
    let db = a.db();
    // Not while it runs.
    let refused = force(&a, &db, &["-y"]).expect_code(1);
    assert!(refused.err().contains("is served by"), "{refused}");
    a.logs("no leader");
    a.stop();
    // Not without a word from somebody.
    let asked = force(&a, &db, &[]).expect_code(2);
    assert!(
        asked.err().contains("is lost") && asked.err().contains("-y"),
        "{asked}"
    );
    let done = force(&a, &db, &["-y", "--json"]).expect_code(0);
    assert_eq!(
        done.json()["dropped"].as_array().map(Vec::len),
        Some(2),
        "{done}"
    );
    a.start();
    settled(&[&a], 1, 1);
    assert!(a.has(&job));
    a.submit("goes on");
    // A former member with its old data is refused, and says what to do.
    let ended = Running::start(b.command(), None).wait(SOON).expect_code(1);
    assert!(ended.err().contains("another cluster"), "{ended}");
    settled(&[&a], 1, 1);
    // Wiped it joins.
    b.wipe();
    b.told_of(&[&a.url()]).start();
    settled(&[&a, &b], 2, 2);
    assert!(b.has(&job));
}

#[test]
fn one_that_was_forced_out_of_a_living_cluster_does_not_count_as_one_of_its_members() {
    let [mut a, b, c] = Node::three();
    a.kill();
    force(&a, &a.db(), &["-y"]).expect_code(0);
    a.start();
    settled(&[&a], 1, 1);
    let nodes = [&b, &c];
    b.submit("goes on without it");
    let leads = leader(&nodes);
    let (first, other) = (nodes[leads], nodes[1 - leads]);
    first.logs("it belongs to another cluster now");
    eventually(SOON, || {
        let peers = first.peers().unwrap_or_default();
        let members = peers["members"].as_array().cloned().unwrap_or_default();
        let mut found = members.iter().filter(|member| member["name"] == "a");
        found.all(|member| member["reachable"] == false)
    });
    // With it there would be a majority, and it answers, but for another cluster.
    let remove = |name: &str| {
        let url = first.url();
        first.run(&["peer", "remove", name, "--coordinator", &url])
    };
    let refused = remove(&other.name).expect_code(1);
    assert!(refused.err().contains("a majority is 2"), "{refused}");
    remove("a").expect_code(0);
    settled(&nodes, 2, 2);
    first.submit("goes on");
    // What it is now it stays.
    a.submit("goes on");
    settled(&[&a], 1, 1);
}

#[test]
fn only_a_member_can_be_forced() {
    let mut a = Node::new("a");
    a.start();
    a.stop();
    let refused = force(&a, &a.db(), &["-y"]).expect_code(1);
    assert!(refused.err().contains("in no cluster"), "{refused}");
    force(&a, Path::new("nothing.db"), &["-y"]).expect_code(2);
}
