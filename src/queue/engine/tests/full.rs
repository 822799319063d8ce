//! A disk without room: everybody is told, nothing that was accepted is lost, and it passes.

use super::small_disk::SmallDisk;
use super::*;

/// Puts jobs in until there is no room. Returns those that were accepted.
async fn fill(queue: &Queue) -> Vec<JobId> {
    let mut accepted = Vec::new();
    loop {
        match queue.submit(only(vec![job(), job()]), None).await {
            Ok(done) => accepted.extend(done.jobs),
            Err(Error::Full { .. }) => return accepted,
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_to_all_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount("size=2m") else {
        return;
    };
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![0; 256 * 1024]).unwrap();
    let (queue, _) = open(disk.path());
    let accepted = fill(&queue).await;
    assert!(accepted.len() > 100, "{}", accepted.len());
    let heavy = NewJob::new(Payload::parse(format!(r#""{}""#, "x".repeat(100_000))).unwrap());
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let fresh = NewJob {
                id: JobId::fresh(),
                ..heavy.clone()
            };
            let queue = queue.clone();
            tokio::spawn(async move { queue.submit(only(vec![fresh]), None).await })
        })
        .collect();
    for one in waiting {
        assert!(matches!(one.await.unwrap(), Err(Error::Full { .. })));
    }
    let counts = queue.counts().await.unwrap();
    assert_eq!(counts.queued, accepted.len() as u64);
    std::fs::remove_file(&filler).unwrap();
    let held = claim_one(&queue, "a").await;
    let good = report(Verdict::Succeeded);
    queue.complete(held.lease(), good).await.unwrap();
    queue.submit(only(vec![heavy]), None).await.unwrap();
    for id in &accepted {
        assert!(queue.job(*id).await.unwrap().is_some());
    }
    check(disk.path());
    drop(queue);
    let (queue, _) = open(disk.path());
    let counts = queue.counts().await.unwrap();
    assert_eq!(counts.total(), accepted.len() as u64 + 1);
}
