//! What goes and what stays.

use super::*;
use crate::queue::sweeper::{Retention, prune_all};

#[tokio::test]
async fn old_groups_go_and_live_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    let mut groups = Vec::new();
    for number in 0..4 {
        let group = NewGroup {
            id: GroupId::fresh(),
            kind: "dispatch".into(),
            title: number.to_string(),
            parent: None,
            meta: Payload::parse("{}").unwrap(),
        };
        groups.push(group.id);
        let submit = Submit {
            group: Some(IntoGroup::New(group)),
            jobs: vec![job()],
        };
        queue.submit(submit, None).await.unwrap();
    }
    for id in [groups[1], groups[2], groups[3]] {
        queue.cancel(Cancel::Group(id), None).await.unwrap();
    }
    let kept = Retention {
        keep_groups: Some(2),
        ..Default::default()
    };
    let pruned = prune_all(&queue, &kept, clock.now()).await.unwrap();
    assert_eq!((pruned.groups, pruned.jobs), (vec![groups[1]], 1));
    assert_eq!(queue.groups(10).await.unwrap().len(), 3);
}

/// Puts `count` jobs in and cancels them, so that they have ended.
async fn ended(queue: &Queue, count: usize) -> Vec<JobId> {
    let jobs = (0..count).map(|_| job()).collect();
    let ids = queue.submit(only(jobs), None).await.unwrap().jobs;
    queue.cancel(Cancel::Jobs(ids.clone()), None).await.unwrap();
    ids
}

async fn left(queue: &Queue) -> u64 {
    queue.counts().await.unwrap().total()
}

#[tokio::test]
async fn ended_jobs_go_by_age_with_all_that_belongs_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    let long = format!(r#""{}""#, "x".repeat(5000));
    let long = NewJob::new(Payload::parse(long).unwrap());
    let (id, text) = (long.id, long.payload.clone());
    queue.submit(only(vec![long]), None).await.unwrap();
    let held = claim_one(&queue, "a").await;
    assert_eq!(held.payload, text);
    let view = queue.job(id).await.unwrap().unwrap();
    assert_eq!(view.job.payload, text);
    clock.advance(LEASE);
    queue.expire_due().await.unwrap();
    let held = [held, claim_one(&queue, "b").await];
    for one in &held {
        let good = report(Verdict::Succeeded);
        queue.complete(one.lease(), good).await.unwrap();
    }
    assert_eq!(queue.strays(id).await.unwrap().len(), 1);
    let waiting = queue.submit(only(vec![job()]), None).await.unwrap().jobs;
    let week = Retention::default().ended_for;
    clock.advance(week);
    let kept = prune_all(&queue, &Retention::default(), clock.now()).await;
    assert_eq!(kept.unwrap().jobs, 0, "not older than a week yet");
    clock.advance(Duration::from_millis(1));
    let gone = prune_all(&queue, &Retention::default(), clock.now()).await;
    assert_eq!(gone.unwrap().jobs, 1);
    assert!(queue.job(id).await.unwrap().is_none());
    assert!(
        queue.job(waiting[0]).await.unwrap().is_some(),
        "it waits still"
    );
    check(dir.path());
}

#[tokio::test]
async fn the_newest_ended_jobs_stay_and_the_rest_goes_in_several_steps() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    ended(&queue, 12).await;
    clock.advance(LEASE);
    let newest = ended(&queue, 3).await;
    let rule = Prune {
        ended_before: clock.now().minus(2 * LEASE),
        keep_ended: 3,
        keep_groups: None,
        limit: 5,
    };
    for (went, more) in [(5, true), (5, true), (2, false), (0, false)] {
        let step = queue.prune(rule).await.unwrap();
        assert_eq!((step.jobs, step.more), (went, more));
    }
    for id in newest {
        assert!(queue.job(id).await.unwrap().is_some());
    }
    ended(&queue, 1200).await;
    let few = Retention {
        keep_ended: 10,
        ..Retention::default()
    };
    let gone = prune_all(&queue, &few, clock.now()).await.unwrap();
    assert_eq!((gone.jobs, left(&queue).await), (1193, 10));
    check(dir.path());
}

#[tokio::test]
async fn a_group_of_several_steps_goes_whole_and_keys_go_when_they_expire() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    let group = NewGroup {
        id: GroupId::fresh(),
        kind: "dispatch".into(),
        title: String::new(),
        parent: None,
        meta: Payload::parse("{}").unwrap(),
    };
    let id = group.id;
    let submit = Submit {
        group: Some(IntoGroup::New(group)),
        jobs: (0..7).map(|_| job()).collect(),
    };
    let key = Idempotency {
        key: "k".into(),
        body_hash: [0; 32],
        expires_at: clock.now().plus(LEASE),
    };
    queue.submit(submit, Some(key)).await.unwrap();
    let rule = Prune {
        ended_before: clock.now(),
        keep_ended: 100,
        keep_groups: Some(0),
        limit: 3,
    };
    assert_eq!(
        queue.prune(rule).await.unwrap(),
        Pruned::default(),
        "it runs"
    );
    queue.cancel(Cancel::Group(id), None).await.unwrap();
    clock.advance(LEASE);
    let mut all = Pruned::default();
    for jobs in [3, 3, 1] {
        let step = queue.prune(rule).await.unwrap();
        assert_eq!(step.jobs, jobs);
        all.groups.extend(step.groups);
        all.keys += step.keys;
    }
    assert_eq!((all.groups, all.keys), (vec![id], 1));
    assert_eq!(left(&queue).await, 0);
    check(dir.path());
}
