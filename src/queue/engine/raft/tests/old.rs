//! What older programs wrote, and clusters in which some are older.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::harness::{Net, Node, agree, cluster, leader};
use crate::protocol::api::HostMode;
use crate::protocol::{HostId, JobStatus, Reason};
use crate::queue::cluster::{Member, MemberId, PROTOCOL, Role};
use crate::queue::command::ClaimMark;
use crate::queue::{ClaimRequest, Claimant, Claimed, JobFilter};

const FIRST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cluster/form-1");

/// Claims one job for the host `h`, as the request called `name`.
async fn claim(node: &Node, name: &str) -> Claimed {
    let host = HostId::new("h").unwrap();
    let mark = ClaimMark::of(&host, name);
    let request = ClaimRequest {
        claimants: vec![Claimant {
            capabilities: vec!["shell".to_owned()],
            ..Claimant::new(host)
        }],
        group: None,
        lease_for: Duration::from_secs(60),
    };
    let given = node.queue.claim_once(request, vec![Some(mark)]).await;
    let mut given = given.unwrap();
    assert_eq!(given.len(), 1);
    given.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_log_is_read_to_its_end_and_goes_on() {
    let net = Arc::new(Net::default());
    let dir = Arc::new(tempfile::tempdir().unwrap());
    for name in ["coordinator.db", "coordinator.db-raft"] {
        std::fs::copy(Path::new(FIRST).join(name), dir.path().join(name)).unwrap();
    }
    let node = Node::open(&net, dir).unwrap();
    node.until("does not lead", |status| {
        status.role == Role::Leader && status.applied >= 33
    })
    .await;
    let page = node.queue.jobs(
        JobFilter {
            oldest_first: true,
            ..JobFilter::default()
        },
        None,
        100,
    );
    let jobs: Vec<_> = page
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|view| view.job)
        .collect();
    let seen: Vec<_> = jobs
        .iter()
        .map(|job| (job.status, job.attempts.get(), job.reason))
        .collect();
    assert_eq!(
        seen,
        [
            (JobStatus::Completed, 1, None),
            (JobStatus::Failed, 1, Some(Reason::Exit)),
            (JobStatus::Queued, 1, None),
            (JobStatus::Queued, 0, None),
            (JobStatus::Queued, 0, None),
            (JobStatus::Failed, 0, Some(Reason::Cancelled)),
            (JobStatus::Queued, 0, None),
        ]
    );
    assert_eq!(jobs[6].retry_of, Some(jobs[5].id));
    let modes: Vec<_> = node
        .queue
        .hosts()
        .await
        .unwrap()
        .into_iter()
        .map(|entry| (entry.host.name, entry.mode))
        .collect();
    assert_eq!(
        modes,
        [
            ("g".to_owned(), HostMode::Draining),
            ("h".to_owned(), HostMode::Active)
        ]
    );
    assert_eq!(node.queue.services().await.unwrap()[0].name, "s");
    assert!(!node.queue.paused().await.unwrap());
    let given = claim(&node, "r").await;
    assert_eq!(given.job, jobs[2].id);
    node.complete(&given).await;
    // A member that joins now begins with a copy of all that.
    let other = Node::fresh(&net);
    node.take_in(&other).await;
    agree(&[&node, &other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_member_is_older_the_log_has_what_that_one_reads() {
    let net = Arc::new(Net::default());
    let nodes = cluster(&net, 3).await;
    let first = &nodes[0];
    let old = |protocol| Member {
        protocol,
        ..nodes[2].member()
    };
    first.cluster.add(nodes[2].id, old(1)).await.unwrap();
    for _ in 0..4 {
        first.submit().await.unwrap();
    }
    let (one, other) = (claim(first, "r").await, claim(first, "r").await);
    assert_ne!(one.job, other.job, "nobody can be asked to remember");
    agree(&nodes.iter().collect::<Vec<_>>()).await;
    // It comes back as another version.
    first.cluster.add(nodes[2].id, old(PROTOCOL)).await.unwrap();
    let (one, other) = (claim(first, "s").await, claim(first, "s").await);
    assert_eq!(
        (one.job, one.attempt, one.token),
        (other.job, other.attempt, other.token)
    );
    assert_ne!(claim(first, "t").await.job, one.job);
    agree(&nodes.iter().collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leads_again_leads_in_a_later_term_and_two_may_lead_in_one() {
    let net = Arc::new(Net::default());
    let nodes = cluster(&net, 3).await;
    let mut led: Vec<(u64, MemberId)> = Vec::new();
    let mut watches: Vec<_> = nodes.iter().map(|node| node.cluster.watch()).collect();
    for round in 0..12 {
        // All at once: of several in one term the one with the highest number wins, perhaps after another has.
        for node in &nodes {
            node.cluster.stand().await.unwrap();
        }
        let at = leader(&nodes).await;
        for (node, watch) in nodes.iter().zip(&mut watches) {
            let status = watch.borrow_and_update().clone();
            if status.role == Role::Leader && !led.contains(&(status.term, node.id)) {
                let earlier = led.iter().filter(|(_, id)| *id == node.id);
                assert!(
                    earlier.clone().all(|(term, _)| *term < status.term),
                    "round {round}: {led:?} then {status:?}"
                );
                led.push((status.term, node.id));
            }
        }
        nodes[at].submit().await.unwrap();
    }
    assert!(led.len() > 1, "{led:?}");
    agree(&nodes.iter().collect::<Vec<_>>()).await;
}
