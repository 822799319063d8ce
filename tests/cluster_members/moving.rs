//! Members come back at other addresses.

use crate::common::eventually;
use crate::site::{Node, SOON, all_have, settled};

#[test]
fn members_that_have_all_moved_find_each_other_by_one_address() {
    let mut nodes = Node::three();
    let before = nodes[1].submit("before");
    all_have(&nodes.each_ref(), &before);
    for node in &mut nodes {
        node.stop();
        node.move_away();
    }
    // Nobody is where the log says; the owner names the first one's new address to the others.
    let first = nodes[0].url();
    nodes[0].told_of(&[]).start();
    for node in &mut nodes[1..] {
        node.told_of(&[&first]).start();
    }
    let after = nodes[2].submit("after");
    all_have(&nodes.each_ref(), &after);
    assert!(nodes[2].has(&before));
    settled(&nodes.each_ref(), 3, 3);
    // From then on the log says where they are, and nobody has to be named.
    let urls: Vec<String> = nodes.iter().map(Node::url).collect();
    eventually(SOON, || urls.iter().all(|url| nodes[0].knows(url)));
    for node in &mut nodes {
        node.stop();
        node.told_of(&[]);
    }
    for node in &mut nodes {
        node.start();
    }
    nodes[0].submit("again");
    settled(&nodes.each_ref(), 3, 3);
}
