//! Copies of the queue for members that are behind: what they may cost the one that makes them.

use std::sync::Arc;

use super::super::compact::KEPT_ENTRIES;
use super::super::send;
use super::harness::{Net, Node, agree, cluster, leader};
use crate::queue::Error;

/// A cluster of three of which the last has been away for longer than the log reaches back, while others wrote jobs
/// of this many bytes.
async fn one_is_away(net: &Arc<Net>, bytes: usize) -> (Vec<Node>, Node) {
    let mut nodes = cluster(net, 3).await;
    let away = nodes.pop().unwrap();
    let seen = away.cluster.status().applied;
    net.isolate(away.id);
    let (mut at, mut jobs) = (0, 0);
    while jobs < 3 * KEPT_ENTRIES {
        match nodes[at].submit_long(bytes).await {
            Ok(_) => jobs += 1,
            Err(Error::NoQuorum(_) | Error::NotLeader { .. }) => at = leader(&nodes).await,
            Err(error) => panic!("{error}"),
        }
    }
    let purged = || async { nodes[at].purged().await > seen };
    nodes[at].poll("the log is never shortened", purged).await;
    // Where the copies were with which the others began.
    for node in &nodes {
        send::clean(&node.path());
    }
    (nodes, away)
}

/// Waits until a copy was thought of a few times.
async fn a_few_tries(net: &Net, nodes: &[Node], away: &Node) {
    let before = net.greeted(away.id);
    let tries = || async { net.greeted(away.id) > before + 3 };
    nodes[0].poll("nobody tries", tries).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_copy_is_made_for_a_member_that_is_not_there() {
    let net = Arc::new(Net::default());
    let (nodes, away) = one_is_away(&net, 10).await;
    a_few_tries(&net, &nodes, &away).await;
    // Each would be as large as the queue, over and over for as long as the member is away.
    for node in &nodes {
        let made = send::directory(&node.path());
        assert!(!made.exists(), "copies were made in {}", made.display());
    }
    net.heal();
    agree(&[&nodes[0], &nodes[1], &away]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_can_make_no_copy_goes_on_leading() {
    let net = Arc::new(Net::default());
    let (nodes, away) = one_is_away(&net, 10).await;
    // As if there was no room for one.
    for node in &nodes {
        std::fs::write(send::directory(&node.path()), "").unwrap();
    }
    net.heal();
    a_few_tries(&net, &nodes, &away).await;
    for node in &nodes {
        assert_eq!(node.cluster.core().fault.get(), None);
        std::fs::remove_file(send::directory(&node.path())).unwrap();
    }
    agree(&[&nodes[0], &nodes[1], &away]).await;
}

/// What is to go of the log is put off while it is being sent, and more is asked for meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_long_entries_is_shortened_beside_a_member_that_is_away() {
    let net = Arc::new(Net::default());
    let (nodes, away) = one_is_away(&net, 60_000).await;
    for node in &nodes {
        assert_eq!(node.cluster.core().fault.get(), None);
    }
    net.heal();
    agree(&[&nodes[0], &nodes[1], &away]).await;
}

/// Nothing else is sent to a member while a copy is on its way there, so it would be alone for as long as that is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_answer_to_a_copy_was_lost_is_asked_again_soon_and_says_that_it_has_it() {
    let net = Arc::new(Net::default());
    let (nodes, away) = one_is_away(&net, 10).await;
    let before = net.pieces();
    net.lose_answer();
    net.heal();
    let all = [&nodes[0], &nodes[1], &away];
    agree(&all).await;
    nodes[leader(&nodes).await].submit().await.unwrap();
    agree(&all).await;
    assert_eq!(net.pieces(), before + 2, "the copy was sent anew");
}
