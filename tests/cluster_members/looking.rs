//! `skyclaw peer list`, and what the routes say of members.

use serde_json::Value;

use crate::common::eventually;
use crate::site::{Node, SOON, leader};

#[test]
fn people_and_programs_see_how_the_members_are() {
    let mut nodes = Node::three();
    let leads = leader(&nodes.each_ref());
    let asked = nodes[(leads + 1) % 3].url();
    let run = |args: &[&str]| nodes[0].run(&[args, &["--coordinator", &asked]].concat());
    // Once the leader has looked at all of them.
    let mut listed = Value::Null;
    eventually(SOON, || {
        listed = run(&["peer", "list", "--json"]).expect_code(0).json();
        let members = listed["members"].as_array().unwrap();
        members
            .iter()
            .all(|member| member["clockOffsetMs"].is_i64() && member["lagRecords"].is_u64())
    });
    assert_eq!(listed["schema"], 1);
    for member in listed["members"].as_array().unwrap() {
        assert!(
            member["clockOffsetMs"].as_i64().unwrap().abs() < 5000,
            "{member}"
        );
        assert_eq!(member["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(member["reachable"], true);
        assert!(member["lagSeconds"].is_u64(), "{member}");
        assert_eq!(member["term"], listed["term"]);
    }
    let table = run(&["peer", "list"]).expect_code(0);
    let mut lines = table.out().lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        lines.remove(0),
        "COORDINATOR\tROLE\tURL\tVERSION\tTERM\tBEHIND\tCLOCK\tID"
    );
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("\tleader\t"))
            .count(),
        1,
        "{table}"
    );
    // One is lost, then a majority: it is said, by those who are left.
    let lost = (leads + 2) % 3;
    nodes[lost].kill();
    eventually(SOON, || {
        let table = nodes[0].run(&["peer", "list", "--coordinator", &asked]);
        table.out().contains("does not answer")
    });
    nodes[leads].kill();
    eventually(SOON, || {
        let table = nodes[0].run(&["peer", "list", "--coordinator", &asked]);
        table.code == 0 && table.err().contains("nobody can lead")
    });
}

#[test]
fn one_that_is_alone_says_so() {
    let mut a = Node::new("a");
    a.start();
    let table = a
        .run(&["peer", "list", "--coordinator", &a.url()])
        .expect_code(0);
    assert!(table.out().contains("a\tlone\thttp://"), "{table}");
    let left = a
        .run(&["peer", "leave", "--coordinator", &a.url()])
        .expect_code(1);
    assert!(left.err().contains("in no cluster"), "{left}");
    let two = a.run(&[
        "peer",
        "leave",
        "--coordinator",
        &a.url(),
        "--coordinator",
        "http://127.0.0.1:1",
    ]);
    two.expect_code(2);
    a.run(&["peer", "list", "--coordinator", "http://127.0.0.1:1"])
        .expect_code(69);
    a.run(&["peer", "remove"]).expect_code(2);
}
