//! Hosts: what they hold, what is taken from them, and what their jobs print.

use super::*;
use crate::protocol::api::{HostMode, Stream};
use crate::queue::command::{LOG_LIMIT, NewHost, NewPiece};

pub fn host(id: &str) -> NewHost {
    NewHost {
        id: HostId::new(id).unwrap(),
        name: format!("the {id}"),
        capabilities: vec!["shell".to_owned()],
        labels: [("zone".to_owned(), "eu".to_owned())].into(),
        max_parallel: 2,
        state_id: None,
        facts: None,
    }
}

fn id(text: &str) -> HostId {
    HostId::new(text).unwrap()
}

#[tokio::test]
async fn a_host_that_comes_back_without_its_jobs_has_lost_them() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    let (first, _) = queue.register_host(host("a"), None, None).await.unwrap();
    queue
        .set_host_mode(id("a"), HostMode::Draining)
        .await
        .unwrap();
    queue.submit(only(vec![job(), job()]), None).await.unwrap();
    let kept = claim_one(&queue, "a").await;
    let gone = claim_one(&queue, "a").await;
    assert_eq!(queue.leases_of(id("a")).await.unwrap().len(), 2);
    assert_eq!(queue.held_counts().await.unwrap(), [(id("a"), 2)].into());
    clock.advance(Duration::from_secs(1));
    let held = Some(vec![kept.lease()]);
    let (again, _) = queue.register_host(host("a"), held, None).await.unwrap();
    assert_eq!(again.registered_at, first.registered_at);
    assert_eq!(again.mode, HostMode::Draining);
    let held = queue.leases_of(id("a")).await.unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].job, kept.job);
    let attempts = queue.attempts(gone.job).await.unwrap().unwrap();
    assert_eq!(attempts[0].end, Some(AttemptEnd::Lost));
    // Another host gets the job at once, and the zombie's report changes nothing after that.
    let elsewhere = claim_one(&queue, "b").await;
    assert_eq!((elsewhere.job, elsewhere.attempt.get()), (gone.job, 2));
    let late = queue
        .complete(gone.lease(), report(Verdict::Succeeded))
        .await
        .unwrap();
    assert_eq!(late, Completion::LeaseLost);
    assert!(queue.forget_host(id("a")).await.unwrap());
    assert!(queue.host(id("a")).await.unwrap().is_none());
    assert!(queue.leases_of(id("a")).await.unwrap().is_empty());
    drop(queue);
    check(dir.path());
}

#[tokio::test]
async fn a_lease_whose_reply_was_lost_goes_back_unharmed() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    queue.submit(only(vec![job(), job()]), None).await.unwrap();
    let lost = claim_one(&queue, "a").await;
    clock.advance(Duration::from_secs(11));
    let fresh = claim_one(&queue, "a").await;
    let given = queue
        .give_back(id("a"), Vec::new(), Duration::from_secs(10))
        .await
        .unwrap();
    assert_eq!(given.len(), 1);
    let job = queue.job(lost.job).await.unwrap().unwrap().job;
    assert_eq!(job.status, JobStatus::Queued);
    assert_eq!(
        queue.leases_of(id("a")).await.unwrap()[0].job,
        fresh.job,
        "what was given just now may still be on its way"
    );
}

#[tokio::test]
async fn a_paused_queue_and_a_full_host_get_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    queue
        .submit(only(vec![job(), job(), job()]), None)
        .await
        .unwrap();
    queue.set_paused(true).await.unwrap();
    assert!(queue.claim(asks("a")).await.unwrap().is_empty());
    drop(queue);
    let (queue, _) = open(dir.path());
    assert!(queue.paused().await.unwrap());
    queue.set_paused(false).await.unwrap();
    let full = ClaimRequest {
        claimants: vec![Claimant {
            max: 3,
            limit: Some(2),
            ..Claimant::new(id("a"))
        }],
        ..asks("a")
    };
    assert_eq!(queue.claim(full.clone()).await.unwrap().len(), 2);
    assert!(queue.claim(full).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_retry_is_a_new_job_beside_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let pinned = NewJob {
        requirement: Requirement::pinned("a"),
        priority: 7,
        ..job()
    };
    queue
        .submit(only(vec![pinned.clone(), job()]), None)
        .await
        .unwrap();
    let first = claim_one(&queue, "a").await;
    queue
        .complete(first.lease(), report(Verdict::Failed(Reason::Exit)))
        .await
        .unwrap();
    let waiting = queue
        .jobs(Default::default(), None, 10)
        .await
        .unwrap()
        .items[0]
        .job
        .id;
    let unknown = JobId::fresh();
    let (done, _) = queue
        .retry(vec![pinned.id, waiting, unknown], None)
        .await
        .unwrap();
    assert_eq!(
        (done.not_ended, done.unknown),
        (vec![waiting], vec![unknown])
    );
    let again = queue.job(done.retried[0].1).await.unwrap().unwrap().job;
    assert_eq!(again.retry_of, Some(pinned.id));
    assert_eq!((again.priority, again.requirement), (7, pinned.requirement));
    let old = queue.job(pinned.id).await.unwrap().unwrap().job;
    assert_eq!(old.status, JobStatus::Failed);
    drop(queue);
    check(dir.path());
}

#[tokio::test]
async fn a_lost_job_is_offered_again_to_its_only_host_and_waiters_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    queue.submit(only(vec![job()]), None).await.unwrap();
    let first = claim_one(&queue, "a").await;
    clock.advance(LEASE);
    queue.expire_due().await.unwrap();
    assert!(queue.claim(asks("a")).await.unwrap().is_empty());
    let mut news = queue.changes();
    clock.advance(LEASE);
    let expired = queue.expire_due().await.unwrap();
    assert_eq!(expired.ready, 1);
    assert_eq!(
        news.recv().await.unwrap(),
        Change::Ready {
            job: first.job,
            group: None,
            avoids: false,
        }
    );
    assert_eq!(claim_one(&queue, "a").await.attempt.get(), 2);
    drop(queue);
    check(dir.path());
}

#[tokio::test]
async fn a_lost_job_is_let_back_to_its_host_when_there_is_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    queue.submit(only(vec![job()]), None).await.unwrap();
    let first = claim_one(&queue, "a").await;
    assert!(!queue.readmit(first.job).await.unwrap(), "somebody has it");
    clock.advance(LEASE);
    let mut news = queue.changes();
    queue.expire_due().await.unwrap();
    let ready = |avoids| Change::Ready {
        job: first.job,
        group: None,
        avoids,
    };
    assert_eq!(news.recv().await.unwrap(), ready(true));
    assert!(queue.claim(asks("a")).await.unwrap().is_empty());
    assert!(queue.readmit(first.job).await.unwrap());
    assert_eq!(news.recv().await.unwrap(), ready(false));
    assert!(!queue.readmit(first.job).await.unwrap(), "it avoids nobody");
    assert_eq!(claim_one(&queue, "a").await.attempt.get(), 2);
    drop(queue);
    check(dir.path());
}

#[tokio::test]
async fn output_is_kept_in_order_and_once_and_the_middle_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    queue.submit(only(vec![job()]), None).await.unwrap();
    let claimed = claim_one(&queue, "a").await;
    let piece = |stream, offset: u64, bytes: &[u8]| NewPiece {
        lease: claimed.lease(),
        stream,
        offset,
        bytes: bytes.to_vec(),
    };
    let sent = vec![
        piece(Stream::Stdout, 0, b"one "),
        piece(Stream::Stderr, 0, b"oh"),
        // Its answer got lost, and it came again with more behind it.
        piece(Stream::Stdout, 0, b"one two "),
        piece(Stream::Stdout, 20, b"after a hole"),
    ];
    assert_eq!(queue.append_log(sent).await.unwrap(), [true; 4]);
    // Nothing was ever printed so far on; such numbers could not be added up.
    for offset in [u64::MAX, u64::MAX - 1, i64::MAX as u64] {
        let odd = piece(Stream::Stdout, offset, b"hello");
        assert_eq!(queue.append_log(vec![odd]).await.unwrap(), [false]);
    }
    let all = queue.log(claimed.job, 0, 1000).await.unwrap().unwrap();
    let texts: Vec<(&[u8], u64)> = all
        .iter()
        .map(|one| (one.bytes.as_slice(), one.dropped))
        .collect();
    assert_eq!(
        texts,
        [
            (&b"one "[..], 0),
            (b"oh", 0),
            (b"two ", 0),
            (b"after a hole", 12)
        ]
    );
    let chunk = vec![b'x'; 64 * 1024];
    for n in 0..400_u64 {
        let next = piece(Stream::Stdout, 32 + n * chunk.len() as u64, &chunk);
        queue.append_log(vec![next]).await.unwrap();
    }
    let (mut from, mut kept, mut dropped) = (0, 0, 0);
    loop {
        let page = queue
            .log(claimed.job, from, 1 << 20)
            .await
            .unwrap()
            .unwrap();
        let Some(last) = page.last() else { break };
        from = last.number;
        kept += page.iter().map(|one| one.bytes.len() as u64).sum::<u64>();
        dropped += page.iter().map(|one| one.dropped).sum::<u64>();
    }
    assert!(kept <= LOG_LIMIT && kept > LOG_LIMIT - 128 * 1024, "{kept}");
    assert_eq!(kept + dropped, 2 + 32 + 400 * chunk.len() as u64);
    queue
        .complete(claimed.lease(), report(Verdict::Succeeded))
        .await
        .unwrap();
    let late = piece(Stream::Stdout, 0, b"zombie");
    assert_eq!(queue.append_log(vec![late]).await.unwrap(), [false]);
    drop(queue);
    check(dir.path());
}

#[tokio::test]
async fn jobs_are_found_by_host_kind_reason_and_submitter() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let mine = NewJob {
        submitted_by: Some("me".to_owned()),
        payload: Payload::parse(format!(
            r#"{{"x": "{}", "kind": "picoclaw-task"}}"#,
            "y".repeat(2000)
        ))
        .unwrap(),
        ..job()
    };
    queue
        .submit(only(vec![job(), mine.clone()]), None)
        .await
        .unwrap();
    let first = claim_one(&queue, "a").await;
    queue
        .complete(first.lease(), report(Verdict::Failed(Reason::Timeout)))
        .await
        .unwrap();
    let find = async |filter: JobFilter| -> Vec<JobId> {
        let page = queue.jobs(filter, None, 10).await.unwrap();
        page.items.into_iter().map(|view| view.job.id).collect()
    };
    let all = JobFilter::default;
    assert_eq!(find(all()).await, [mine.id, first.job]);
    let rising = JobFilter {
        oldest_first: true,
        ..all()
    };
    assert_eq!(find(rising).await, [first.job, mine.id]);
    let kind = JobFilter {
        kind: Some("picoclaw-task".to_owned()),
        ..all()
    };
    assert_eq!(find(kind).await, [mine.id]);
    let by = JobFilter {
        submitted_by: Some("me".to_owned()),
        ..all()
    };
    assert_eq!(find(by).await, [mine.id]);
    let on = JobFilter {
        host: Some(id("a")),
        ..all()
    };
    assert_eq!(find(on).await, [first.job]);
    let why = JobFilter {
        reason: Some(Reason::Timeout),
        ..all()
    };
    assert_eq!(find(why).await, [first.job]);
}

#[tokio::test]
async fn a_cancel_says_how_long_the_job_may_tidy_up() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    queue.submit(only(vec![job()]), None).await.unwrap();
    let claimed = claim_one(&queue, "a").await;
    let grace = Some(Duration::from_secs(90));
    queue
        .cancel_within(Cancel::Jobs(vec![claimed.job]), None, grace)
        .await
        .unwrap();
    assert_eq!(queue.leases_of(id("a")).await.unwrap()[0].grace, grace);
    let answer = queue.renew(vec![claimed.lease()]).await.unwrap();
    let end = clock.now().plus(LEASE).plus(Duration::from_secs(90));
    assert!(matches!(
        &answer[0],
        Renewed::Cancel { until, grace: told, .. } if *until == end && *told == grace
    ));
}

#[tokio::test]
async fn an_id_stays_with_its_name_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _clock) = open(dir.path());
    let named = |name: &str| NewHost {
        name: name.to_owned(),
        ..host("a")
    };
    let ask = |name: &str| queue.register_host_of_name(named(name), None, None);
    // Both are under way at once: the file decides who was first.
    let (one, two) = tokio::join!(ask("one"), ask("two"));
    let taken = [one.unwrap(), two.unwrap()];
    assert_eq!(taken.iter().flatten().count(), 1);
    let first = taken.iter().flatten().next().unwrap();
    let name = first.0.host.name.clone();
    assert!(ask(&name).await.unwrap().is_some());
    assert_eq!(queue.hosts().await.unwrap()[0].host.name, name);
    // Others may still give it away.
    queue
        .register_host(named("three"), None, None)
        .await
        .unwrap();
    assert!(ask(&name).await.unwrap().is_none());
}
