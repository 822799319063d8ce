//! Writes that were acknowledged stay, whoever leads.

use std::sync::Arc;

use crate::queue::Error;
use crate::queue::cluster::Role;

use super::harness::{Net, Node, agree, cluster, has, leader};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_queue_becomes_a_cluster_while_it_is_written() {
    let net = Arc::new(Net::default());
    let node = Node::fresh(&net);
    assert_eq!(node.cluster.status().role, Role::Lone);
    node.cluster.confirm().await.unwrap();
    let before = node.submit().await.unwrap();
    let node = Arc::new(node);
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let node = Arc::clone(&node);
            tokio::spawn(async move {
                let mut written = Vec::new();
                for _ in 0..40 {
                    written.push(node.submit().await.unwrap());
                }
                written
            })
        })
        .collect();
    node.cluster.found(node.member()).await.unwrap();
    let status = node.cluster.status();
    assert_eq!((status.role, status.leader), (Role::Leader, Some(node.id)));
    assert_eq!(status.voters().collect::<Vec<_>>(), [node.id]);
    assert!(status.cluster.is_some());
    for writer in writers {
        for job in writer.await.unwrap() {
            assert!(has(&node, job).await);
        }
    }
    node.cluster.confirm().await.unwrap();
    assert!(has(&node, before).await);
    assert_eq!(node.queue.counts().await.unwrap().queued, 8 * 40 + 1);
    assert!(node.cluster.found(node.member()).await.is_err(), "twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_before_the_cluster_reaches_everybody() {
    let net = Arc::new(Net::default());
    let first = Node::fresh(&net);
    let mut jobs = Vec::new();
    for _ in 0..20 {
        jobs.push(first.submit().await.unwrap());
    }
    let hash = first.cluster.state_hash().await.unwrap();
    first.cluster.found(first.member()).await.unwrap();
    assert_eq!(first.cluster.state_hash().await.unwrap(), hash);
    let second = Node::fresh(&net);
    first.take_in(&second).await;
    let third = Node::fresh(&net);
    first.take_in(&third).await;
    agree(&[&first, &second, &third]).await;
    assert_eq!(second.cluster.state_hash().await.unwrap(), hash);
    for job in jobs {
        assert!(has(&third, job).await);
    }
    let cluster = first.cluster.status().cluster;
    assert!(cluster.is_some());
    assert_eq!(third.cluster.status().cluster, cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_survive_the_loss_of_the_leader() {
    let net = Arc::new(Net::default());
    let mut nodes = cluster(&net, 3).await;
    let mut jobs = Vec::new();
    for _ in 0..30 {
        jobs.push(nodes[0].submit().await.unwrap());
    }
    let held = nodes[0].claim("a").await.unwrap().pop().unwrap();
    match nodes[1].submit().await {
        Err(Error::NotLeader { leader }) => {
            assert_eq!(leader.unwrap().name, nodes[0].id.to_string())
        }
        other => panic!("{other:?}"),
    }
    let lost = nodes.remove(0).kill().await;
    let at = leader(&nodes).await;
    for job in &jobs {
        assert!(has(&nodes[at], *job).await);
    }
    // The lease holds under the new leader, and nobody gets the job twice.
    let other = nodes[at].claim("b").await.unwrap().pop().unwrap();
    assert_ne!(other.job, held.job);
    nodes[at].complete(&held).await;
    jobs.push(nodes[at].submit().await.unwrap());
    let back = Node::open(&net, lost).unwrap();
    back.until("not back", |status| {
        status.role == Role::Follower && status.leader.is_some()
    })
    .await;
    agree(&[&back, &nodes[0], &nodes[1]]).await;
    for job in jobs {
        assert!(has(&back, job).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_off_leader_confirms_nothing_and_acknowledges_nothing() {
    let net = Arc::new(Net::default());
    let nodes = cluster(&net, 3).await;
    net.isolate(nodes[0].id);
    let unsure = nodes[0].submit().await;
    assert!(matches!(unsure, Err(Error::NoQuorum(_))), "{unsure:?}");
    let confirmed = nodes[0].cluster.confirm().await;
    let refused = matches!(confirmed, Err(Error::NoQuorum(_) | Error::NotLeader { .. }));
    assert!(refused, "{confirmed:?}");
    let at = 1 + leader(&nodes[1..]).await;
    let kept = nodes[at].submit().await.unwrap();
    net.heal();
    nodes[0]
        .until("still leads", |status| {
            status.role == Role::Follower && status.leader.is_some()
        })
        .await;
    let at = leader(&nodes).await;
    agree(&[&nodes[0], &nodes[1], &nodes[2]]).await;
    assert!(has(&nodes[at], kept).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_starts_again_with_everything() {
    let net = Arc::new(Net::default());
    let nodes = cluster(&net, 3).await;
    let mut jobs = Vec::new();
    for _ in 0..30 {
        jobs.push(nodes[0].submit().await.unwrap());
    }
    let mut dirs = Vec::new();
    for node in nodes {
        dirs.push(node.kill().await);
    }
    let nodes: Vec<_> = dirs
        .into_iter()
        .map(|dir| Node::open(&net, dir).unwrap())
        .collect();
    let at = leader(&nodes).await;
    jobs.push(nodes[at].submit().await.unwrap());
    agree(&nodes.iter().collect::<Vec<_>>()).await;
    for job in jobs {
        assert!(has(&nodes[2], job).await);
    }
    // Nobody writes such a file alone.
    let path = nodes[0].path();
    let refused = crate::queue::Queue::open(crate::queue::Options::new(&path));
    assert!(matches!(refused, Err(Error::IsMember { .. })));
}
