//! What a large file costs: rates beside 100 000 finished jobs, memory with 100 000 waiting ones.

use std::time::{Duration, Instant};

use crate::Bench;
use crate::rates::{Load, claim_many, drive};
use crate::server::Coordinator;
use crate::table::{Row, Target};

/// How many jobs are in the large file.
const MANY: usize = 100_000;

/// What one bout puts in, so that there is something to take.
const BOUT: usize = 15_000;

/// How many callers there are.
const CALLERS: usize = 16;

/// Compares the rates of a file with many finished jobs with those of an empty one.
pub async fn finished(bench: &Bench) -> Vec<Row> {
    let full = Coordinator::start(&bench.place).await;
    finish(&full, MANY).await;
    // What so many writes left behind is tidied up once, not at the cost of what comes next.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (mut with, mut without) = ([0.0_f64; 2], [0.0_f64; 2]);
    for _ in 0..bench.rounds {
        best(&mut with, bout(&full).await);
        let empty = Coordinator::start(&bench.place).await;
        best(&mut without, bout(&empty).await);
        empty.stop().await;
    }
    full.stop().await;
    ["submit", "claim and complete"]
        .iter()
        .zip(with.into_iter().zip(without))
        .map(|(name, (with, without))| {
            let name = format!("{name} beside {MANY} finished jobs, against none");
            Row::new(&name, with / without, "")
                .callers(CALLERS)
                .target(Target::AtLeast(0.9))
                .note(&format!("{with:.0} jobs/s against {without:.0}"))
        })
        .collect()
}

/// Submits, takes and reports for a while; returns the two rates. Leaves nothing waiting.
async fn bout(coordinator: &Coordinator) -> [f64; 2] {
    let (submitted, _) = drive(coordinator, Load::Submit(1), CALLERS).await;
    coordinator.fill(BOUT).await;
    let (completed, _) = drive(coordinator, Load::ClaimAndComplete(1), CALLERS).await;
    drain(coordinator).await;
    [submitted.per_second, completed.per_second]
}

fn best(kept: &mut [f64; 2], seen: [f64; 2]) {
    for (kept, seen) in kept.iter_mut().zip(seen) {
        *kept = kept.max(seen);
    }
}

/// Puts `count` jobs through.
async fn finish(coordinator: &Coordinator, count: usize) {
    coordinator.fill(count).await;
    drain(coordinator).await;
    let counts = coordinator.counts().await;
    assert_eq!((counts.completed, counts.queued), (count as u64, 0));
}

/// Has whatever waits taken and reported.
async fn drain(coordinator: &Coordinator) {
    const AT_ONCE: usize = 500;
    let hosts = coordinator.hosts(4, AT_ONCE).await;
    let tasks: Vec<_> = hosts
        .into_iter()
        .map(|(host, mut connection)| {
            tokio::spawn(
                async move { while claim_many(&host, &mut connection, AT_ONCE).await > 0 {} },
            )
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Measures the memory that many waiting jobs take.
pub async fn queued(bench: &Bench) -> Vec<Row> {
    let coordinator = Coordinator::start(&bench.place).await;
    let bare = coordinator.process.memory();
    let start = Instant::now();
    coordinator.fill(MANY).await;
    let took = start.elapsed();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let memory = coordinator.process.memory();
    let peak = coordinator.process.peak_memory();
    assert_eq!(coordinator.counts().await.queued, MANY as u64);
    coordinator.stop().await;
    let name = format!("memory with {MANY} waiting jobs");
    let note = format!(
        "{:.0} MiB before, {:.0} MiB at most; submitted 5000 a request in {:.2} s",
        mib(bare),
        mib(peak),
        took.as_secs_f64()
    );
    vec![
        Row::new(&name, mib(memory), "MiB")
            .target(Target::Below(100.0))
            .note(&note),
    ]
}

/// Returns `bytes` in MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
