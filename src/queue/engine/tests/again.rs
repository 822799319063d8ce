//! Claims that come again under one name.

use super::*;
use crate::queue::command::ClaimMark;

/// Claims up to `max` jobs as the request called `name`.
async fn claim(queue: &Queue, host: &str, name: &str, max: u16) -> Vec<Claimed> {
    let host = HostId::new(host).unwrap();
    let mark = ClaimMark::of(&host, name);
    let request = ClaimRequest {
        claimants: vec![Claimant {
            max,
            ..Claimant::new(host)
        }],
        group: None,
        lease_for: LEASE,
    };
    queue.claim_once(request, vec![Some(mark)]).await.unwrap()
}

fn proofs(given: &[Claimed]) -> Vec<LeaseRef> {
    given.iter().map(Claimed::lease).collect()
}

#[tokio::test]
async fn a_name_gives_what_it_gave_for_as_long_as_that_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    let jobs: Vec<NewJob> = (0..5).map(|_| job()).collect();
    queue.submit(only(jobs), None).await.unwrap();
    let first = claim(&queue, "a", "r", 2).await;
    assert_eq!(first.len(), 2);
    clock.advance(LEASE / 2);
    // Not more, though it asks for more; each with a whole lease time from now.
    let again = claim(&queue, "a", "r", 4).await;
    assert_eq!(proofs(&again), proofs(&first));
    let (before, after) = (first[0].expires_at, again[0].expires_at);
    assert_eq!(after, before.plus(LEASE / 2));
    assert_eq!(again[0].payload, first[0].payload);
    // Another name, and another host under the same name, are other requests.
    let other = claim(&queue, "a", "s", 1).await;
    let stranger = claim(&queue, "b", "r", 1).await;
    assert!(!proofs(&first).contains(&other[0].lease()));
    assert!(!proofs(&first).contains(&stranger[0].lease()));
    // Also while nothing is given out, and when it is to end.
    queue.set_paused(true).await.unwrap();
    assert_eq!(claim(&queue, "a", "r", 2).await.len(), 2);
    assert!(claim(&queue, "a", "t", 2).await.is_empty());
    queue.set_paused(false).await.unwrap();
    queue
        .complete(first[0].lease(), report(Verdict::Succeeded))
        .await
        .unwrap();
    assert_eq!(
        proofs(&claim(&queue, "a", "r", 2).await),
        proofs(&first[1..])
    );
    // What ran out is given anew, as another try.
    clock.advance(LEASE);
    queue.expire_due().await.unwrap();
    let anew = claim(&queue, "a", "r", 1).await;
    assert!(!proofs(&first).contains(&anew[0].lease()));
    check(dir.path());
}

#[tokio::test]
async fn names_of_several_who_claim_together_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _clock) = open(dir.path());
    let jobs: Vec<NewJob> = (0..4).map(|_| job()).collect();
    queue.submit(only(jobs), None).await.unwrap();
    let hosts = ["a", "b", "c"].map(|name| HostId::new(name).unwrap());
    let marks = vec![
        Some(ClaimMark::of(&hosts[0], "r")),
        None,
        Some(ClaimMark::of(&hosts[2], "r")),
    ];
    let request = ClaimRequest {
        claimants: hosts.map(Claimant::new).to_vec(),
        group: None,
        lease_for: LEASE,
    };
    let first = queue.claim_once(request, marks).await.unwrap();
    assert_eq!(first.len(), 3);
    for (at, host) in [(0, "a"), (2, "c")] {
        let again = claim(&queue, host, "r", 1).await;
        assert_eq!(proofs(&again), [first[at].lease()], "{host}");
    }
    assert_ne!(
        proofs(&claim(&queue, "b", "r", 1).await),
        [first[1].lease()]
    );
}
