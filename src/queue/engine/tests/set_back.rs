//! A machine's clock that is set back between two lives of a lone queue. In a cluster time goes on from what
//! was applied last, whatever the clocks say.

use super::*;

#[tokio::test]
async fn a_clock_set_back_between_two_lives_prolongs_no_lease() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    queue.submit(only(vec![job(), job()]), None).await.unwrap();
    claim_one(&queue, "gone").await;
    let cancelled = claim_one(&queue, "gone").await;
    let grace = Duration::from_secs(30);
    queue
        .cancel_within(Cancel::Jobs(vec![cancelled.job]), None, Some(grace))
        .await
        .unwrap();
    let hour = Duration::from_secs(3600);
    let earlier = clock.now().minus(hour);
    drop(queue);
    let (queue, clock) = open(dir.path());
    clock.set(earlier);
    assert_eq!(queue.reprieve().await.unwrap(), 1);
    clock.advance(LEASE);
    let due = queue.expire_due().await.unwrap();
    assert_eq!((due.requeued, due.ended), (1, 0));
    clock.advance(grace);
    assert_eq!(queue.expire_due().await.unwrap().ended, 1);
    check(dir.path());
}

#[tokio::test]
async fn a_clock_set_back_between_two_lives_keeps_no_host_from_a_job() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    queue.submit(only(vec![job()]), None).await.unwrap();
    claim_one(&queue, "a").await;
    clock.advance(LEASE);
    assert_eq!(queue.expire_due().await.unwrap().requeued, 1);
    let ask = || asks("a");
    assert!(queue.claim(ask()).await.unwrap().is_empty(), "avoided");
    let earlier = clock.now().minus(Duration::from_secs(3600));
    drop(queue);
    let (queue, clock) = open(dir.path());
    clock.set(earlier);
    queue.reprieve().await.unwrap();
    check(dir.path());
    clock.advance(Duration::from_secs(60));
    assert_eq!(queue.claim(ask()).await.unwrap().len(), 1);
    check(dir.path());
}
