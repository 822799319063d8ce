//! A copy of a member's directory that is started beside it: two with one number.

use crate::common::eventually;
use crate::site::{Node, SOON, all_have, leader, settled};

const SAYS: &str = "runs on a copy of this one's data";

#[test]
fn a_copy_beside_its_original_ends_and_the_cluster_goes_on() {
    let mut nodes = Node::three();
    nodes[2].stop();
    let copy = nodes[2].copied();
    nodes[2].start();
    settled(&nodes.each_ref(), 3, 3);
    let said = copy.fails();
    assert!(
        said.contains(SAYS) && said.contains(&nodes[2].url()),
        "{said}"
    );
    let job = nodes[2].submit("after");
    all_have(&nodes.each_ref(), &job);
    settled(&nodes.each_ref(), 3, 3);
}

#[test]
fn a_copy_of_the_leader_leads_nobody() {
    let mut nodes = Node::three();
    let leads = leader(&nodes.each_ref());
    nodes[leads].submit("before");
    // It led at its end, and so did its copy.
    nodes[leads].kill();
    let mut copy = nodes[leads].copied();
    nodes[leads].start();
    settled(&nodes.each_ref(), 3, 3);
    copy.start();
    let mut accepted = Vec::new();
    while !copy.has_ended() {
        accepted.extend(copy.try_submit("at the copy"));
    }
    assert!(copy.ended().expect_code(1).err().contains(SAYS));
    accepted.push(nodes[0].submit("after"));
    for job in accepted {
        all_have(&nodes.each_ref(), &job);
    }
    assert!(nodes[1].knows(&nodes[leads].url()));
}

#[test]
fn the_original_ends_once_its_copy_is_the_member() {
    let mut nodes = Node::three();
    nodes[2].stop();
    let mut moved = nodes[2].copied();
    moved.told_of(&[&nodes[0].url()]).start();
    eventually(SOON, || nodes[0].knows(&moved.url()));
    // So does its own log, once it has what came after that.
    let job = nodes[0].submit("since");
    eventually(SOON, || moved.has(&job));
    let said = nodes[2].fails();
    assert!(said.contains(SAYS) && said.contains(&moved.url()), "{said}");
    let job = moved.submit("after");
    all_have(&[&nodes[0], &nodes[1], &moved], &job);
}

#[test]
fn machines_made_from_one_image_do_not_found_with_themselves() {
    let mut image = Node::new("image");
    image.told_of(&["http://127.0.0.1:9"]).start();
    image.stop();
    let [mut a, mut b] = [image.copied(), image.copied()];
    let urls = [a.url(), b.url()];
    for node in [&mut a, &mut b] {
        node.told_of(&[&urls[0], &urls[1]]).start();
    }
    // Whichever looked first.
    eventually(SOON, || a.has_ended() || b.has_ended());
    let mut ended = if a.has_ended() { a } else { b };
    assert!(ended.ended().expect_code(1).err().contains(SAYS));
}
