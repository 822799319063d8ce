//! The log between members: how much of it there is, how it travels, and who cannot read it.

use std::sync::Arc;

use super::super::compact::KEPT_ENTRIES;
use super::super::format::kind;
use super::super::send::PIECE;
use super::super::{Kind, Role};
use super::harness::{Net, Node, SOON, agree, cluster, has};
use crate::queue::store::{Edit, Journal, Place};

/// Ends a cluster of one, puts an entry into its log, starts it again and returns what it dies of.
async fn dies_of(kind: u8, body: &[u8]) -> String {
    let net = Arc::new(Net::default());
    let node = Node::fresh(&net);
    node.cluster.found(node.member()).await.unwrap();
    node.submit().await.unwrap();
    let path = node.path();
    let dir = node.kill().await;
    {
        let mut journal = Journal::open(&path).unwrap();
        let (last, _) = *journal.sizes().unwrap().last().unwrap();
        let next = Place {
            index: last.index + 1,
            ..last
        };
        journal
            .edit(&[Edit::Append(next, kind, body.into())])
            .unwrap();
    }
    let node = Node::open(&net, dir).unwrap();
    let died = tokio::time::timeout(SOON, node.cluster.failed()).await;
    died.expect("it lives on")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_newer_program_wrote_ends_this_one_with_what_to_do() {
    let newer_form = dies_of(kind::COMMANDS, b"\x02[]").await;
    assert!(newer_form.contains("has form 2"), "{newer_form}");
    assert!(newer_form.contains("use a newer skyclaw"), "{newer_form}");
    let command = [b"\x01".as_slice(), br#"[{"command":{"Teleport":{}}}]"#].concat();
    let unknown = dies_of(kind::COMMANDS, &command).await;
    assert!(unknown.contains("Teleport"), "{unknown}");
    let other = dies_of(9, b"").await;
    assert!(other.contains("is of kind 9"), "{other}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_past_the_end_of_the_log_gets_a_copy() {
    let net = Arc::new(Net::default());
    let mut nodes = cluster(&net, 3).await;
    let away = nodes.pop().unwrap();
    let seen = away.cluster.status().applied;
    let dir = away.kill().await;
    let mut jobs = Vec::new();
    for _ in 0..(3 * KEPT_ENTRIES) {
        jobs.push(nodes[0].submit().await.unwrap());
    }
    let purged = || async { nodes[0].purged().await > seen };
    nodes[0].poll("the log is never shortened", purged).await;
    let back = Node::open(&net, dir).unwrap();
    agree(&[&nodes[0], &nodes[1], &back]).await;
    for job in jobs {
        assert!(has(&back, job).await);
    }
    assert!(net.longest(Kind::Snapshot) > 0, "it came through the log");
    nodes[0].submit().await.unwrap();
    let back = back.restart().await;
    back.until("not back", |status| status.role == Role::Follower)
        .await;
    agree(&[&nodes[0], &nodes[1], &back]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_queue_travels_in_small_pieces_and_its_readers_go_on() {
    let net = Arc::new(Net::default());
    let first = Node::fresh(&net);
    for _ in 0..5 {
        first.submit_long(700_000).await.unwrap();
    }
    first.cluster.found(first.member()).await.unwrap();
    let second = Node::fresh(&net);
    assert_eq!(second.queue.counts().await.unwrap().queued, 0);
    first.take_in(&second).await;
    agree(&[&first, &second]).await;
    assert_eq!(second.queue.counts().await.unwrap().queued, 5);
    let longest = net.longest(Kind::Snapshot);
    assert!((PIECE / 2..PIECE + 8192).contains(&longest), "{longest}");
    // What was needed on the way is gone.
    for node in [&first, &second] {
        let left = std::fs::read_dir(super::super::send::directory(&node.path()));
        assert_eq!(left.map_or(0, Iterator::count), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_short_and_long_entries_get_through() {
    let net = Arc::new(Net::default());
    let nodes = cluster(&net, 2).await;
    for _ in 0..12 {
        nodes[0].submit_long(300_000).await.unwrap();
    }
    nodes[0].submit_long(3_000_000).await.unwrap();
    let too_long = nodes[0].submit_long(13 << 20).await;
    let told = too_long.unwrap_err().to_string();
    assert!(told.contains("longer than 12 MiB"), "{told}");
    for _ in 0..(2 * KEPT_ENTRIES) {
        nodes[0].submit().await.unwrap();
    }
    let last = nodes[0].cluster.status().last_log;
    let short = || async { nodes[0].purged().await + 2 * KEPT_ENTRIES + 20 > last };
    nodes[0].poll("the log grows", short).await;
    agree(&[&nodes[0], &nodes[1]]).await;
    let path = nodes[0].path();
    for node in nodes {
        node.kill().await;
    }
    let kept = Journal::open(&path).unwrap().sizes().unwrap();
    assert!(
        (kept.len() as u64) < 2 * KEPT_ENTRIES + 20,
        "{}",
        kept.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_come_together_share_entries() {
    let net = Arc::new(Net::default());
    let node = Arc::new(Node::fresh(&net));
    node.cluster.found(node.member()).await.unwrap();
    let before = node.cluster.status().last_log;
    let callers: Vec<_> = (0..300)
        .map(|_| {
            let node = Arc::clone(&node);
            tokio::spawn(async move { node.submit().await.unwrap() })
        })
        .collect();
    for caller in callers {
        let job = caller.await.unwrap();
        assert!(has(&node, job).await);
    }
    let status = node
        .until("behind", |status| status.applied == status.last_log)
        .await;
    let entries = status.last_log - before;
    assert!(entries < 150, "{entries} entries for 300 commands");
}
