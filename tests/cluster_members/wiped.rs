//! A machine that lost its disk comes back under its old name: it is a new member.

use crate::site::{Node, all_have, leader, settled};

#[test]
fn a_wiped_disk_is_a_new_member_in_the_place_of_the_old_one() {
    let mut nodes = Node::three();
    let job = nodes[0].submit("kept by the others");
    let lost = (leader(&nodes.each_ref()) + 1) % 3;
    let through = nodes[(lost + 1) % 3].url();
    let before = nodes[lost].id().unwrap();
    nodes[lost].kill();
    nodes[lost].wipe();
    nodes[lost].told_of(&[&through]).start();
    settled(&nodes.each_ref(), 3, 3);
    assert_ne!(nodes[lost].id().unwrap(), before);
    all_have(&nodes.each_ref(), &job);
    let leads = leader(&nodes.each_ref());
    nodes[leads].logs("came back without its data");
}

#[test]
fn the_same_without_a_name_of_its_own() {
    let [mut a, mut b] = Node::all(["a", "b"]);
    a.start();
    b.told_of(&[&a.url()]).start();
    settled(&[&a, &b], 2, 2);
    let mut c = Node::new("c");
    c.told_of(&[&a.url()]).start();
    settled(&[&a, &b, &c], 3, 3);
    a.logs("voters=3");
    c.kill();
    c.wipe();
    // Called otherwise now, at the same address.
    c.rename("c2").start();
    settled(&[&a, &b, &c], 3, 3);
}

#[test]
fn one_that_comes_back_empty_and_alone_is_complained_about_on_both_sides() {
    let mut nodes = Node::three();
    // The one that began it was never told of the others.
    nodes[0].kill();
    nodes[0].wipe();
    nodes[0].start();
    nodes[1].submit("goes on without it");
    let others = [&nodes[1], &nodes[2]];
    let leads = others[leader(&others)];
    leads.logs("serves a queue of its own");
    nodes[0].logs("a cluster looks for a member here");
}
