//! Who holds a job, for how long, and what ends that.

use super::*;

#[tokio::test]
async fn a_lost_lease_goes_to_another_host_and_fences_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    queue.submit(only(vec![job()]), None).await.unwrap();
    let first = claim_one(&queue, "a").await;
    clock.advance(LEASE);
    assert_eq!(queue.expire_due().await.unwrap().requeued, 1);
    assert!(queue.claim(asks("a")).await.unwrap().is_empty());
    let second = claim_one(&queue, "b").await;
    assert_eq!(second.attempt.get(), 2);
    let late = queue
        .complete(first.lease(), report(Verdict::Succeeded))
        .await
        .unwrap();
    assert_eq!(late, Completion::LeaseLost);
    assert_eq!(queue.strays(first.job).await.unwrap().len(), 1);
    assert_eq!(
        queue.renew(vec![first.lease()]).await.unwrap(),
        [Renewed::LeaseLost]
    );
    clock.advance(LEASE);
    queue.expire_due().await.unwrap();
    claim_one(&queue, "a").await;
    clock.advance(LEASE);
    queue.expire_due().await.unwrap();
    let view = queue.job(first.job).await.unwrap().unwrap();
    assert_eq!(view.job.reason, Some(Reason::Dead));
    assert_eq!(queue.attempts(first.job).await.unwrap().unwrap().len(), 3);
}

#[tokio::test]
async fn a_cancel_reaches_the_holder_and_ends_a_deaf_one() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    queue.submit(only(vec![job()]), None).await.unwrap();
    let held = claim_one(&queue, "a").await;
    let mut news = queue.changes();
    queue
        .cancel(Cancel::Jobs(vec![held.job]), Some("why".into()))
        .await
        .unwrap();
    assert!(matches!(
        news.recv().await.unwrap(),
        Change::CancelAsked { .. }
    ));
    clock.advance(LEASE / 2);
    let answer = queue.renew(vec![held.lease()]).await.unwrap();
    assert!(matches!(&answer[0], Renewed::Cancel { reason: Some(why), .. } if why == "why"));
    clock.advance(LEASE / 2);
    assert_eq!(queue.expire_due().await.unwrap().ended, 1);
    let view = queue.job(held.job).await.unwrap().unwrap();
    assert_eq!(view.job.reason, Some(Reason::Cancelled));
}

async fn give_back(queue: &Queue, held: &Claimed, delay: Duration) -> Completion {
    let mut answers = queue.release(vec![held.lease()], delay).await.unwrap();
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

#[tokio::test]
async fn a_job_given_back_waits_and_counts_as_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    let once = NewJob {
        max_attempts: 1,
        ..job()
    };
    queue.submit(only(vec![once]), None).await.unwrap();
    let held = claim_one(&queue, "a").await;
    let until = clock.now().plus(LEASE);
    let later = Completion::Requeued {
        not_before: Some(until),
    };
    assert_eq!(give_back(&queue, &held, LEASE).await, later);
    assert_eq!(
        give_back(&queue, &held, LEASE).await,
        Completion::LeaseLost,
        "given back already"
    );
    assert!(queue.claim(asks("b")).await.unwrap().is_empty());
    assert_eq!(queue.expire_due().await.unwrap().next_due, Some(until));
    clock.advance(LEASE);
    // No sweep needed: the claim itself sees that the wait is over. The same host may have it again.
    let again = claim_one(&queue, "a").await;
    assert_eq!((again.job, again.attempt.get()), (held.job, 2));
    let at_once = Completion::Requeued { not_before: None };
    assert_eq!(give_back(&queue, &again, Duration::ZERO).await, at_once);
    assert_eq!(claim_one(&queue, "a").await.attempt.get(), 3);
    let ends = queue.attempts(held.job).await.unwrap().unwrap();
    assert!(
        ends[..2]
            .iter()
            .all(|one| one.end == Some(AttemptEnd::Released))
    );
    check(dir.path());
}

#[tokio::test]
async fn a_restarted_server_gives_each_lease_one_fresh_lease_time() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    queue.submit(only(vec![job(), job()]), None).await.unwrap();
    let held = claim_one(&queue, "a").await;
    let cancelled = claim_one(&queue, "a").await;
    let why = Cancel::Jobs(vec![cancelled.job]);
    queue.cancel(why, None).await.unwrap();
    let down = clock.now().plus(2 * LEASE);
    drop(queue);
    let (queue, clock) = open(dir.path());
    clock.set(down);
    assert_eq!(queue.reprieve().await.unwrap(), 1, "not the cancelled one");
    let due = queue.expire_due().await.unwrap();
    assert_eq!((due.requeued, due.ended), (0, 1));
    assert_eq!(
        queue.renew(vec![held.lease()]).await.unwrap(),
        [Renewed::Until(down.plus(LEASE))]
    );
    assert_eq!(queue.reprieve().await.unwrap(), 0, "nothing to add");
    clock.advance(LEASE);
    assert_eq!(queue.expire_due().await.unwrap().requeued, 1);
    check(dir.path());
}

#[tokio::test]
async fn a_holder_without_tokens_is_believed_while_it_holds_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    queue.submit(only(vec![job()]), None).await.unwrap();
    let held = claim_one(&queue, "a").await;
    let by = |host: &str| LeaseRef {
        job: held.job,
        proof: LeaseProof::Host(HostId::new(host).unwrap()),
    };
    let answers = queue.renew(vec![by("a"), by("b")]).await.unwrap();
    let until = clock.now().plus(LEASE);
    assert_eq!(answers, [Renewed::Until(until), Renewed::LeaseLost]);
    clock.advance(LEASE);
    queue.expire_due().await.unwrap();
    let other = claim_one(&queue, "b").await;
    let good = report(Verdict::Succeeded);
    let late = queue.complete(by("a"), good.clone()).await.unwrap();
    assert_eq!(late, Completion::LeaseLost);
    let done = queue.complete(by("b"), good).await.unwrap();
    assert!(matches!(done, Completion::Ended { reason: None, .. }));
    assert_eq!(other.attempt.get(), 2);
    check(dir.path());
}

#[tokio::test]
async fn jobs_start_neither_too_early_nor_too_late() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    let now = clock.now();
    let after = |seconds| Some(now.plus(Duration::from_secs(seconds)));
    let early = NewJob {
        not_before: after(10),
        start_by: after(20),
        ..job()
    };
    let missed = NewJob {
        start_by: after(5),
        ..job()
    };
    let past = NewJob {
        not_before: Some(now),
        ..job()
    };
    let ids = [early.id, missed.id, past.id];
    queue
        .submit(only(vec![early, missed, past]), None)
        .await
        .unwrap();
    assert_eq!(queue.expire_due().await.unwrap().next_due, after(5));
    clock.advance(Duration::from_secs(5));
    assert_eq!(claim_one(&queue, "a").await.job, ids[2]);
    assert!(queue.claim(asks("a")).await.unwrap().is_empty());
    let view = queue.job(ids[1]).await.unwrap().unwrap();
    assert_eq!(view.job.reason, Some(Reason::Deadline));
    clock.advance(Duration::from_secs(5));
    let held = claim_one(&queue, "a").await;
    assert_eq!(held.job, ids[0]);
    give_back(&queue, &held, Duration::from_secs(60)).await;
    clock.advance(Duration::from_secs(10));
    queue.expire_due().await.unwrap();
    let view = queue.job(ids[0]).await.unwrap().unwrap();
    assert_eq!(
        view.job.reason,
        Some(Reason::Deadline),
        "the wait outlasts the start"
    );
    check(dir.path());
}

#[tokio::test]
async fn a_clock_set_back_takes_no_lease_away_and_gives_none_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    queue.submit(only(vec![job()]), None).await.unwrap();
    let held = claim_one(&queue, "a").await;
    let start = clock.now();
    clock.set(start.minus(Duration::from_secs(3600)));
    // Time goes on from where it was.
    let until = start.plus(LEASE)..start.plus(LEASE + Duration::from_secs(30));
    let renewed = queue.renew(vec![held.lease()]).await.unwrap();
    assert!(matches!(&renewed[..], [Renewed::Until(at)] if until.contains(at)));
    queue.submit(only(vec![job()]), None).await.unwrap();
    let second = claim_one(&queue, "a").await;
    assert!(until.contains(&second.expires_at));
    assert_eq!(queue.expire_due().await.unwrap().requeued, 0);
    check(dir.path());
}

#[tokio::test]
async fn a_retried_job_keeps_its_place_among_its_equals() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    let again = NewJob {
        retries: 1,
        ..job()
    };
    let first = again.id;
    queue.submit(only(vec![again, job()]), None).await.unwrap();
    let held = claim_one(&queue, "a").await;
    let failed = report(Verdict::Failed(Reason::Exit));
    queue.complete(held.lease(), failed).await.unwrap();
    clock.advance(crate::queue::domain::backoff::FIRST);
    assert_eq!(claim_one(&queue, "a").await.job, first);
    check(dir.path());
}

#[tokio::test]
async fn many_reports_at_once_each_stand_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    queue
        .submit(only(vec![job(), job(), job()]), None)
        .await
        .unwrap();
    let good = claim_one(&queue, "a").await;
    let lost = claim_one(&queue, "a").await;
    let bad = claim_one(&queue, "a").await;
    queue
        .release(vec![lost.lease()], Duration::ZERO)
        .await
        .unwrap();
    let reports = vec![
        (good.lease(), report(Verdict::Succeeded)),
        (lost.lease(), report(Verdict::Succeeded)),
        (bad.lease(), report(Verdict::Failed(Reason::Exit))),
    ];
    let (done, _) = queue.complete_many(reports.clone(), None).await.unwrap();
    let ended = |status, reason| Completion::Ended { status, reason };
    let expected = [
        ended(JobStatus::Completed, None),
        Completion::LeaseLost,
        ended(JobStatus::Failed, Some(Reason::Exit)),
    ];
    assert_eq!(done, expected);
    // The answer got lost: told again, the same comes of it.
    assert_eq!(
        queue.complete_many(reports, None).await.unwrap().0,
        expected
    );
    drop(queue);
    check(dir.path());
}

#[tokio::test]
async fn a_report_that_comes_while_the_job_waits_again_is_its_result() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    let old = LeaseProof::Host(HostId::new("a").unwrap());
    for by_token in [true, false] {
        queue.submit(only(vec![job()]), None).await.unwrap();
        let held = claim_one(&queue, "a").await;
        clock.advance(LEASE);
        assert_eq!(queue.expire_due().await.unwrap().requeued, 1);
        let lease = if by_token {
            held.lease()
        } else {
            LeaseRef {
                job: held.job,
                proof: old.clone(),
            }
        };
        for _ in 0..2 {
            let done = queue
                .complete(lease.clone(), report(Verdict::Succeeded))
                .await;
            let ended = matches!(
                done.unwrap(),
                Completion::Ended {
                    status: JobStatus::Completed,
                    ..
                }
            );
            assert!(ended || !by_token, "and so it is when it is said again");
        }
        check(dir.path());
        let attempts = queue.attempts(held.job).await.unwrap().unwrap();
        assert_eq!(attempts.len(), 1);
        assert_eq!(
            attempts[0].end,
            Some(crate::protocol::AttemptEnd::Succeeded)
        );
        assert!(queue.claim(asks("b")).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_late_failure_is_a_failure_and_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    let twice = NewJob {
        retries: 1,
        max_attempts: 2,
        ..job()
    };
    queue.submit(only(vec![twice]), None).await.unwrap();
    let held = claim_one(&queue, "a").await;
    clock.advance(LEASE);
    queue.expire_due().await.unwrap();
    let late = queue
        .complete(held.lease(), report(Verdict::Failed(Reason::Exit)))
        .await
        .unwrap();
    assert!(matches!(
        late,
        Completion::Requeued {
            not_before: Some(_)
        }
    ));
    check(dir.path());
}
