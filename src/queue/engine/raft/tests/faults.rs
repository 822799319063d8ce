//! What must end a member: files that fail, and faults of ours.

use std::sync::Arc;

use super::harness::{Net, Node, SOON, agree, cluster, has, leader};
use crate::queue::Error;
use crate::queue::engine::tests::small_disk::SmallDisk;
use crate::queue::store::journal_of;

async fn dies(node: &Node) -> String {
    let died = tokio::time::timeout(SOON, node.cluster.failed()).await;
    died.expect("it lives on")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_member_and_the_others_go_on() {
    let Some(disk) = SmallDisk::mount("size=6m") else {
        return;
    };
    let net = Arc::new(Net::default());
    let nodes = cluster(&net, 2).await;
    let poor = Node::open(&net, disk.dir()).unwrap();
    nodes[0].take_in(&poor).await;
    let mut jobs = Vec::new();
    let why = loop {
        jobs.push(nodes[0].submit_long(400_000).await.unwrap());
        let died = std::pin::pin!(poor.cluster.failed());
        if let std::task::Poll::Ready(why) = futures_util::poll!(died) {
            break why;
        }
        assert!(jobs.len() < 500, "it never fails");
    };
    assert!(why.contains("no room"), "{why}");
    let at = leader(&nodes).await;
    jobs.push(nodes[at].submit().await.unwrap());
    agree(&[&nodes[0], &nodes[1]]).await;
    for job in jobs {
        assert!(has(&nodes[1], job).await);
    }
    poor.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_writer_is_a_fault_and_hangs_nobody() {
    let net = Arc::new(Net::default());
    let lone = Node::fresh(&net);
    let member = Node::fresh(&net);
    member.cluster.found(member.member()).await.unwrap();
    for node in [&lone, &member] {
        let local = Arc::clone(&node.cluster.core().local);
        let lost = local
            .with(|_| -> Result<(), Error> { panic!("on purpose") })
            .await;
        assert!(matches!(lost, Err(Error::Closed)), "{lost:?}");
        let why = dies(node).await;
        assert!(why.contains("panicked"), "{why}");
        assert!(node.submit().await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_does_not_fit_its_log_is_refused() {
    let net = Arc::new(Net::default());
    let mut nodes = cluster(&net, 2).await;
    nodes[0].submit().await.unwrap();
    let node = nodes.pop().unwrap();
    let path = node.path();
    let dir = node.kill().await;
    for ending in ["", "-wal", "-shm"] {
        let mut file = path.clone().into_os_string();
        file.push(ending);
        let _ = std::fs::remove_file(file);
    }
    // Its log says that it has voted and what it has seen: it must not come back with less.
    match Node::open(&net, Arc::clone(&dir)).map(|node| node.id) {
        Err(Error::Log { detail, .. }) => assert!(detail.contains("move both files"), "{detail}"),
        other => panic!("{other:?}"),
    }
    for ending in ["", "-wal", "-shm"] {
        let mut file = journal_of(&path).into_os_string();
        file.push(ending);
        let _ = std::fs::remove_file(file);
    }
    let new = Node::open(&net, dir).unwrap();
    new.cluster.wait_for_adoption().await.unwrap();
}
