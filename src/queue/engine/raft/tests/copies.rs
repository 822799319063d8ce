//! Copies of the queue for members that are behind: what they may cost the one that makes them.

use std::sync::Arc;

use super::super::compact::KEPT_ENTRIES;
use super::super::{Role, send};
use super::harness::{Net, Node, agree, cluster};

/// A cluster of three of which the last has been away for longer than the log reaches back.
async fn one_is_away(net: &Arc<Net>) -> (Vec<Node>, Node) {
    let mut nodes = cluster(net, 3).await;
    let away = nodes.pop().unwrap();
    let seen = away.cluster.status().applied;
    net.isolate(away.id);
    for _ in 0..(3 * KEPT_ENTRIES) {
        nodes[0].submit().await.unwrap();
    }
    let purged = || async { nodes[0].purged().await > seen };
    nodes[0].poll("the log is never shortened", purged).await;
    // Where the copies were with which the others began.
    send::clean(&nodes[0].path());
    (nodes, away)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_copy_is_made_for_a_member_that_is_not_there() {
    let net = Arc::new(Net::default());
    let (nodes, away) = one_is_away(&net).await;
    let before = net.greeted(away.id);
    let tries = || async { net.greeted(away.id) > before + 3 };
    nodes[0].poll("nobody tries", tries).await;
    // Each would be as large as the queue, over and over for as long as the member is away.
    let made = send::directory(&nodes[0].path());
    assert!(!made.exists(), "copies were made in {}", made.display());
    net.heal();
    agree(&[&nodes[0], &nodes[1], &away]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_can_make_no_copy_goes_on_leading() {
    let net = Arc::new(Net::default());
    let (nodes, away) = one_is_away(&net).await;
    let place = send::directory(&nodes[0].path());
    // As if there was no room for one.
    std::fs::write(&place, "").unwrap();
    net.heal();
    let before = net.greeted(away.id);
    let tries = || async { net.greeted(away.id) > before + 3 };
    nodes[0].poll("nobody tries", tries).await;
    nodes[0].submit().await.unwrap();
    assert_eq!(nodes[0].cluster.status().role, Role::Leader);
    assert_eq!(nodes[0].cluster.core().fault.get(), None);
    std::fs::remove_file(&place).unwrap();
    agree(&[&nodes[0], &nodes[1], &away]).await;
}
