//! The queue from outside, on a real file.

use std::path::Path;

use super::*;
use crate::protocol::{HostId, JobStatus, Payload, Reason, Requirement};
use crate::queue::{Claimant, IntoGroup, NewGroup, NewJob, Verdict};
use crate::support::clock::{ManualClock, Timestamp};

const LEASE: Duration = Duration::from_secs(60);

fn open(dir: &Path) -> (Queue, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000)));
    let queue = Queue::open(Options {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..Options::new(dir.join("state/queue.db"))
    })
    .unwrap();
    (queue, clock)
}

fn job() -> NewJob {
    NewJob::new(Payload::parse(r#"{"kind": "shell"}"#).unwrap())
}

fn only(jobs: Vec<NewJob>) -> Submit {
    Submit { group: None, jobs }
}

fn asks(host: &str) -> ClaimRequest {
    ClaimRequest {
        claimants: vec![Claimant::new(HostId::new(host).unwrap())],
        group: None,
        lease_for: LEASE,
    }
}

fn report(verdict: Verdict) -> Report {
    Report {
        verdict,
        result: JobResult {
            exit_code: Some(0),
            ..JobResult::default()
        },
    }
}

async fn claim_one(queue: &Queue, host: &str) -> Claimed {
    queue.claim(asks(host)).await.unwrap().pop().unwrap()
}

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
        status: None,
    };
    let page = queue.jobs(filter, None, 1).await.unwrap();
    let rest = queue.jobs(filter, page.next, 10).await.unwrap();
    assert_eq!(rest.items[0].job.payload.as_str(), r#"{"kind": "shell"}"#);
    assert_eq!(
        rest.items[0].job.result.as_ref().unwrap().exit_code,
        Some(0)
    );
    assert_eq!(rest.items[0].last.as_ref().unwrap().host.as_str(), "web2");
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_openers_share_one_file_and_no_job_is_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let queues = [open(dir.path()).0, open(dir.path()).0];
    let runs: Vec<_> = queues
        .iter()
        .cloned()
        .enumerate()
        .map(|(number, queue)| {
            tokio::spawn(async move {
                let mut given = Vec::new();
                for _ in 0..100 {
                    queue.submit(only(vec![job()]), None).await.unwrap();
                    given.push(claim_one(&queue, &format!("h{number}")).await.job);
                }
                given
            })
        })
        .collect();
    let mut all = Vec::new();
    for run in runs {
        all.extend(run.await.unwrap());
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 200);
}

/// Not a test: what the next test runs as another process and kills.
#[tokio::test]
#[ignore = "run by the test that kills it"]
async fn child_that_submits_for_ever() {
    let Some(dir) = std::env::var_os("SKYCLAW_TEST_DIR") else {
        return;
    };
    let (queue, _) = open(Path::new(&dir));
    loop {
        let done = queue.submit(only(vec![job()]), None).await.unwrap();
        println!("\naccepted {}", done.jobs[0]);
    }
}

#[tokio::test]
async fn what_was_accepted_survives_a_kill() {
    use std::io::BufRead;
    let dir = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "child_that_submits_for_ever"])
        .env("SKYCLAW_TEST_DIR", dir.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut accepted: Vec<JobId> = Vec::new();
    for line in std::io::BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        accepted.extend(
            line.strip_prefix("accepted ")
                .and_then(|id| id.parse::<JobId>().ok()),
        );
        if accepted.len() == 200 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(accepted.len() >= 200);
    let (queue, _) = open(dir.path());
    for id in accepted {
        assert!(queue.job(id).await.unwrap().is_some());
    }
}

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
    let kept = crate::queue::sweeper::Retention {
        keep_groups: Some(2),
        ..Default::default()
    };
    let pruned = crate::queue::sweeper::prune_all(&queue, &kept, clock.now())
        .await
        .unwrap();
    assert_eq!((pruned.groups, pruned.jobs), (vec![groups[1]], 1));
    assert_eq!(queue.groups(10).await.unwrap().len(), 3);
}

/// One command of a random run; numbers choose hosts and earlier leases.
async fn random_step(queue: &Queue, clock: &ManualClock, held: &mut Vec<Claimed>, step: (u8, u8)) {
    let (kind, choice) = step;
    let lease = |held: &Vec<Claimed>| {
        let index = usize::from(choice).checked_rem(held.len())?;
        Some(held[index].lease())
    };
    match kind % 6 {
        0 => drop(queue.submit(only(vec![job()]), None).await.unwrap()),
        1 => {
            let host = format!("h{}", choice % 3);
            held.extend(queue.claim(asks(&host)).await.unwrap());
        }
        2 => {
            if let Some(lease) = lease(held) {
                let verdict = match choice % 3 {
                    0 => Verdict::Succeeded,
                    1 => Verdict::Failed(Reason::Exit),
                    _ => Verdict::Failed(Reason::Lost),
                };
                queue.complete(lease, report(verdict)).await.unwrap();
            }
        }
        3 => {
            if let Some(lease) = lease(held) {
                queue.release(vec![lease], Duration::ZERO).await.unwrap();
            }
        }
        4 => {
            clock.advance(Duration::from_secs(u64::from(choice)));
            queue.expire_due().await.unwrap();
        }
        _ => {
            if let Some(lease) = lease(held) {
                queue
                    .cancel(Cancel::Jobs(vec![lease.job]), None)
                    .await
                    .unwrap();
            }
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    #[test]
    fn any_sequence_keeps_the_promises(steps in proptest::collection::vec((0u8..6, 0u8..90), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (queue, clock) = open(dir.path());
            let mut held = Vec::new();
            let mut before: std::collections::HashMap<JobId, JobView> = Default::default();
            for step in steps {
                random_step(&queue, &clock, &mut held, step).await;
                for view in queue.jobs(JobFilter::default(), None, 500).await.unwrap().items {
                    if let Some(old) = before.insert(view.job.id, view.clone()) {
                        assert!(view.job.attempts >= old.job.attempts, "attempts only grow");
                        assert!(!old.job.status.is_final() || old == view, "ended jobs never change");
                    }
                }
            }
            let mut given: Vec<_> = held.iter().map(|one| (one.job, one.attempt)).collect();
            given.sort();
            let all = given.len();
            given.dedup();
            assert_eq!(given.len(), all, "no attempt is given twice");
        });
    }
}
