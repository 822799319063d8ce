//! What every caller sees: submit, claim, complete, keys, priorities.

use super::*;

#[tokio::test]
async fn a_job_is_submitted_claimed_completed_and_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let group = NewGroup {
        id: GroupId::fresh(),
        kind: "dispatch".into(),
        title: "uptime".into(),
        parent: None,
        meta: Payload::parse("{}").unwrap(),
    };
    let id = group.id;
    let mut pinned = job();
    pinned.requirement = Requirement::pinned("web1");
    let submit = Submit {
        group: Some(IntoGroup::New(group)),
        jobs: vec![pinned, job()],
    };
    queue.submit(submit, None).await.unwrap();
    let mut request = asks("web2");
    request.group = Some(id);
    request.claimants[0].max = 5;
    request.claimants[0].names = vec![HostId::new("web2").unwrap()];
    let given = queue.claim(request).await.unwrap();
    assert_eq!(given.len(), 1, "the pinned job is not for web2");
    let done = report(Verdict::Succeeded);
    let ended = Completion::Ended {
        status: JobStatus::Completed,
        reason: None,
    };
    let lease = given[0].lease();
    assert_eq!(
        queue.complete(lease.clone(), done.clone()).await.unwrap(),
        ended
    );
    assert_eq!(
        queue.complete(lease, done).await.unwrap(),
        ended,
        "reply lost"
    );
    drop(queue);
    let (queue, _) = open(dir.path());
    let counts = queue.group(id).await.unwrap().unwrap().counts;
    assert_eq!((counts.queued, counts.completed), (1, 1));
    let filter = JobFilter {
        group: Some(id),
        ..JobFilter::default()
    };
    let page = queue.jobs(filter.clone(), None, 1).await.unwrap();
    let rest = queue.jobs(filter, page.next, 10).await.unwrap();
    assert_eq!(rest.items[0].job.payload.as_str(), r#"{"kind": "shell"}"#);
    assert_eq!(
        rest.items[0].job.result.as_ref().unwrap().exit_code,
        Some(0)
    );
    assert_eq!(rest.items[0].last.as_ref().unwrap().host.as_str(), "web2");
}

#[tokio::test]
async fn fifty_equal_keys_make_one_job() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    let key = |hash| {
        Some(Idempotency {
            key: "k".into(),
            body_hash: [hash; 32],
            expires_at: clock.now().plus(LEASE),
        })
    };
    let all: Vec<_> = (0..50)
        .map(|_| {
            let (queue, key) = (queue.clone(), key(1));
            tokio::spawn(async move { queue.submit(only(vec![job()]), key).await.unwrap() })
        })
        .collect();
    let mut fresh = 0;
    for one in all {
        fresh += u32::from(!one.await.unwrap().replayed);
    }
    assert_eq!(fresh, 1);
    assert_eq!(queue.counts().await.unwrap().total(), 1);
    let other = queue.submit(only(vec![job()]), key(2)).await;
    assert!(matches!(other, Err(Error::KeyConflict(_))));
}

#[tokio::test]
async fn one_bad_command_does_not_hurt_its_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let same = job();
    let (good, twice, last) = tokio::join!(
        queue.submit(only(vec![same.clone()]), None),
        queue.submit(only(vec![same]), None),
        queue.submit(only(vec![job()]), None),
    );
    assert!(good.is_ok() && twice.is_err() && last.is_ok());
    assert_eq!(queue.counts().await.unwrap().queued, 2);
}

#[tokio::test]
async fn priority_then_order_decides() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let mut jobs = vec![job(), job(), job()];
    jobs[2].priority = 5;
    jobs[1].requirement.required_capabilities = vec!["gpu".into()];
    let wanted = [jobs[2].id, jobs[0].id];
    queue.submit(only(jobs), None).await.unwrap();
    for id in wanted {
        assert_eq!(claim_one(&queue, "a").await.job, id);
    }
    assert!(queue.claim(asks("a")).await.unwrap().is_empty());
}
