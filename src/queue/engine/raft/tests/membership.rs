//! Members that come and go.

use std::sync::Arc;

use crate::queue::Error;
use crate::queue::cluster::{Role, force_new_cluster};

use super::harness::{Net, Node, agree, cluster, has, leader};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_empty_queue_waits_to_be_taken_in() {
    let net = Arc::new(Net::default());
    let node = Node::fresh(&net);
    let job = node.submit().await.unwrap();
    let refused = node.cluster.wait_for_adoption().await;
    assert!(
        matches!(refused, Err(Error::NotEmpty { .. })),
        "{refused:?}"
    );
    assert_eq!(node.cluster.status().role, Role::Lone);
    assert!(has(&node, job).await);
    node.submit().await.unwrap();
    let empty = Node::fresh(&net);
    empty.cluster.wait_for_adoption().await.unwrap();
    assert_eq!(empty.cluster.status().role, Role::Waiting);
    let id = empty.id;
    // One that waits founds a cluster itself when nobody else does.
    let empty = empty.restart().await;
    assert_eq!((empty.cluster.status().role, empty.id), (Role::Lone, id));
    empty.cluster.wait_for_adoption().await.unwrap();
    empty.cluster.found(empty.member()).await.unwrap();
    empty.submit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_join_at_once_and_a_learner_has_no_vote() {
    let net = Arc::new(Net::default());
    let nodes: Vec<_> = (0..3).map(|_| Node::fresh(&net)).collect();
    nodes[0].cluster.found(nodes[0].member()).await.unwrap();
    for node in &nodes[1..] {
        node.cluster.wait_for_adoption().await.unwrap();
    }
    let (one, other) = tokio::join!(
        nodes[0].cluster.add(nodes[1].id, nodes[1].member()),
        nodes[0].cluster.add(nodes[2].id, nodes[2].member()),
    );
    one.unwrap();
    other.unwrap();
    for node in &nodes[1..] {
        node.until("no learner", |status| status.role == Role::Learner)
            .await;
    }
    let status = nodes[0].cluster.status();
    assert_eq!((status.members.len(), status.voters().count()), (3, 1));
    nodes[0].promote(&nodes[1]).await;
    nodes[0].submit().await.unwrap();
    agree(&nodes.iter().collect::<Vec<_>>()).await;
    assert_eq!(nodes[0].cluster.status().voters().count(), 2);
    let refused = nodes[1].cluster.add(nodes[2].id, nodes[2].member()).await;
    assert!(
        matches!(refused, Err(Error::NotLeader { leader: Some(_) })),
        "{refused:?}"
    );
    // What is new of a known member is learned by all.
    let moved = crate::queue::cluster::Member {
        url: "http://elsewhere".to_owned(),
        ..nodes[2].member()
    };
    nodes[0]
        .cluster
        .add(nodes[2].id, moved.clone())
        .await
        .unwrap();
    nodes[1]
        .until("not told", |status| status.members[&nodes[2].id].0 == moved)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_whose_words_nobody_could_read_is_refused() {
    let net = Arc::new(Net::default());
    let nodes = cluster(&net, 2).await;
    let new = Node::fresh(&net);
    new.cluster.wait_for_adoption().await.unwrap();
    let mut member = new.member();
    let deep = format!("{}{}", "[".repeat(126), "]".repeat(126));
    let deep = serde_json::from_str(&deep).unwrap();
    member.other.insert("later".to_owned(), deep);
    let refused = nodes[0].cluster.add(new.id, member).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    nodes[0].take_in(&new).await;
    agree(&[&nodes[0], &nodes[1], &new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_lets_itself_go() {
    let net = Arc::new(Net::default());
    let nodes = cluster(&net, 3).await;
    let job = nodes[0].submit().await.unwrap();
    nodes[0].cluster.remove(&[nodes[0].id]).await.unwrap();
    nodes[0]
        .until("still leads", |status| status.role != Role::Leader)
        .await;
    let at = 1 + leader(&nodes[1..]).await;
    assert_eq!(nodes[at].cluster.status().members.len(), 2);
    assert!(has(&nodes[at], job).await);
    nodes[at].submit().await.unwrap();
    let gone = nodes[0].submit().await;
    assert!(matches!(gone, Err(Error::NotLeader { .. })), "{gone:?}");
    let other = 3 - at;
    nodes[at].cluster.remove(&[nodes[other].id]).await.unwrap();
    nodes[at].submit().await.unwrap();
    let last = nodes[at].cluster.remove(&[nodes[at].id]).await;
    assert!(matches!(last, Err(Error::NotAMember(_))), "{last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_disk_is_a_new_member() {
    let net = Arc::new(Net::default());
    let mut nodes = cluster(&net, 3).await;
    let job = nodes[0].submit().await.unwrap();
    let old = nodes.pop().unwrap();
    let (old_id, old_member) = (old.id, old.member());
    drop(old.kill().await);
    let new = Node::fresh(&net);
    assert_ne!(new.id, old_id);
    new.cluster.wait_for_adoption().await.unwrap();
    // What is meant for the old one is not taken by the new one, though it has its address.
    nodes[0].cluster.remove(&[old_id]).await.unwrap();
    let member = crate::queue::cluster::Member {
        name: old_member.name,
        ..new.member()
    };
    nodes[0].cluster.add(new.id, member).await.unwrap();
    nodes[0].promote(&new).await;
    assert!(!nodes[0].cluster.status().members.contains_key(&old_id));
    agree(&[&nodes[0], &nodes[1], &new]).await;
    assert!(has(&new, job).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_survivor_goes_on_alone() {
    let net = Arc::new(Net::default());
    let mut nodes = cluster(&net, 3).await;
    let before = nodes[0].cluster.status();
    let mut jobs = Vec::new();
    for _ in 0..20 {
        jobs.push(nodes[0].submit().await.unwrap());
    }
    let survivor = nodes.pop().unwrap();
    let first = nodes.remove(0);
    // What it has applied is on its disk.
    survivor
        .until("behind", |status| {
            status.applied >= first.cluster.status().applied
        })
        .await;
    let path = survivor.path();
    assert!(
        matches!(force_new_cluster(&path), Err(Error::Busy { .. })),
        "it is open"
    );
    let id = survivor.id;
    let dir = survivor.kill().await;
    let forced = force_new_cluster(&path).unwrap();
    assert_eq!(forced.id, id);
    assert_eq!(forced.dropped.len(), 2);
    assert_ne!(Some(forced.cluster), before.cluster);
    let alone = Node::open(&net, dir).unwrap();
    alone
        .until("not alone", |status| status.role == Role::Leader)
        .await;
    alone.cluster.confirm().await.unwrap();
    for job in jobs {
        assert!(has(&alone, job).await);
    }
    alone.submit().await.unwrap();
    // Those that were given up do not disturb it, and it takes in new ones.
    assert_eq!(alone.cluster.status().members.len(), 1);
    let another = Node::fresh(&net);
    alone.take_in(&another).await;
    agree(&[&alone, &another]).await;
    assert_eq!(another.cluster.status().cluster, Some(forced.cluster));
    let lone = Node::fresh(&net);
    let path = lone.path();
    lone.kill().await;
    assert!(matches!(
        force_new_cluster(&path),
        Err(Error::NotAMember(_))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_starts_again_is_not_taken_for_one_that_waits() {
    let net = Arc::new(Net::default());
    let mut nodes = cluster(&net, 3).await;
    let job = nodes[0].submit().await.unwrap();
    agree(&nodes.iter().collect::<Vec<_>>()).await;
    let own = nodes[1].cluster.status().cluster;
    for _ in 0..10 {
        let node = nodes.remove(1).restart().await;
        let mut watch = node.cluster.watch();
        // From the first moment on, until it has heard of the others.
        while watch.borrow_and_update().leader.is_none() {
            assert_ne!(watch.borrow().role, Role::Waiting);
            watch.changed().await.unwrap();
        }
        nodes.insert(1, node);
    }
    // Even if it were, it would keep what it has agreed on.
    let core = nodes[1].cluster.core();
    core.status
        .send_modify(|status| status.role = Role::Waiting);
    let refused = nodes[1].cluster.found(nodes[1].member()).await;
    assert!(matches!(refused, Err(Error::NotAMember(_))), "{refused:?}");
    agree(&nodes.iter().collect::<Vec<_>>()).await;
    assert_eq!(nodes[1].cluster.status().cluster, own);
    assert!(has(&nodes[1], job).await);
}
