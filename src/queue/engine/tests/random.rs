//! Random runs of commands keep every promise.

use super::*;
use crate::protocol::api::Stream;
use crate::queue::command::NewPiece;

/// One command of a random run; numbers choose hosts and earlier leases.
async fn random_step(queue: &Queue, clock: &ManualClock, held: &mut Vec<Claimed>, step: (u8, u8)) {
    let (kind, choice) = step;
    let lease = |held: &Vec<Claimed>| {
        let index = usize::from(choice).checked_rem(held.len())?;
        Some(held[index].lease())
    };
    match kind % 10 {
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
        5 => {
            let held = lease(held).map(|lease| vec![lease]);
            let host = hosts::host(&format!("h{}", choice % 3));
            queue.register_host(host, held, None).await.unwrap();
        }
        6 => {
            let host = HostId::new(format!("h{}", choice % 3)).unwrap();
            if choice % 2 == 0 {
                queue.forget_host(host).await.unwrap();
            } else {
                let known = lease(held).into_iter().collect();
                let settled = Duration::from_secs(5);
                queue.give_back(host, known, settled).await.unwrap();
            }
        }
        7 => {
            if let Some(lease) = lease(held) {
                let piece = NewPiece {
                    lease,
                    stream: Stream::Stdout,
                    offset: u64::from(choice / 2),
                    bytes: vec![b'x'; usize::from(choice)],
                };
                queue.append_log(vec![piece]).await.unwrap();
            }
        }
        8 => {
            if let Some(lease) = lease(held) {
                queue.retry(vec![lease.job], None).await.unwrap();
            }
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
    fn any_sequence_keeps_the_promises(steps in proptest::collection::vec((0u8..10, 0u8..90), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (queue, clock) = open(dir.path());
            let mut held = Vec::new();
            let mut before: std::collections::HashMap<JobId, JobView> = Default::default();
            for step in steps {
                random_step(&queue, &clock, &mut held, step).await;
                check(dir.path());
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
