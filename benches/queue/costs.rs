//! What single acts cost that are not a matter of rates.

use std::path::Path;
use std::time::{Duration, Instant};

use skyclaw::protocol::{GroupId, HostId, Payload, Requirement};
use skyclaw::queue::{ClaimRequest, Claimant, IntoGroup, NewGroup, NewJob, Queue, Submit};

use crate::sides::{LEASE, Ours, Side, asks, job, went_well};

/// One number and what it means.
pub struct Cost {
    /// What was done.
    pub what: &'static str,
    /// How much it took.
    pub amount: f64,
    /// Of what.
    pub unit: &'static str,
}

/// All of them.
pub struct Costs(pub Vec<Cost>);

/// Jobs and hosts of the long queue.
const LONG: (u32, u32) = (100_000, 1_000);

/// Jobs of one run, each for its own host.
const RUN: usize = 1_000;

/// Says so if files in `place` never reach a disk, so that its numbers mean nothing.
#[allow(
    clippy::useless_conversion,
    reason = "the field has another type on other systems"
)]
pub fn warning(place: &Path) -> &'static str {
    const TMPFS: i64 = 0x0102_1994;
    match rustix::fs::statfs(place) {
        Ok(found) if i64::try_from(found.f_type) == Ok(TMPFS) => {
            " (IN MEMORY: numbers mean little)"
        }
        Ok(_) | Err(_) => "",
    }
}

/// Measures everything here.
pub async fn measure(place: &Path) -> Costs {
    let dir = tempfile::tempdir_in(place).unwrap();
    let mut costs = vec![Cost {
        what: "open a queue with 1000 jobs (median of 21)",
        amount: millis(reopen(&dir.path().join("open.db")).await),
        unit: "ms",
    }];
    let (one, alone, together) = long_queue(&dir.path().join("long.db")).await;
    costs.push(Cost {
        what: "submit 1000 jobs in one command (median of 100)",
        amount: millis(one),
        unit: "ms",
    });
    costs.push(Cost {
        what: "claim by one host, 100 000 jobs pinned over 1000 hosts (median)",
        amount: alone.as_secs_f64() * 1e6,
        unit: "µs each",
    });
    costs.push(Cost {
        what: "claim by 1000 hosts at once, same queue",
        amount: together.as_secs_f64() * 1e6,
        unit: "µs each",
    });
    costs.push(Cost {
        what: "claim and complete a job with a payload of 120 KiB (median of 64)",
        amount: millis(heavy(&dir.path().join("heavy.db")).await),
        unit: "ms",
    });
    let (cpu, wall) = whole_run(&dir.path().join("run.db")).await;
    costs.push(Cost {
        what: "a run: 1 submit of 1000 pinned jobs, 1000 claims, 1000 completes",
        amount: cpu.as_secs_f64() * 1e6,
        unit: "µs of CPU per job",
    });
    costs.push(Cost {
        what: "the same",
        amount: wall.as_secs_f64() * 1e6,
        unit: "µs of time per job",
    });
    Costs(costs)
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

fn median(mut spans: Vec<Duration>) -> Duration {
    spans.sort();
    spans.get(spans.len() / 2).copied().unwrap_or_default()
}

async fn reopen(path: &Path) -> Duration {
    let first = Ours::open(path);
    first.fill(1000).await;
    drop(first);
    let mut spans = Vec::new();
    for _ in 0..21 {
        let start = Instant::now();
        let opened = Ours::open(path);
        spans.push(start.elapsed());
        drop(opened);
    }
    median(spans)
}

fn pinned(host: u32) -> NewJob {
    NewJob {
        requirement: Requirement::pinned(format!("host-{host}")),
        ..job()
    }
}

/// Returns what a submit of 1000 costs, a claim of one host alone, and one of many at once.
async fn long_queue(path: &Path) -> (Duration, Duration, Duration) {
    let queue = Ours::open(path).0;
    let (jobs, hosts) = LONG;
    let mut submits = Vec::new();
    for _ in 0..jobs / hosts {
        let jobs = (0..hosts).map(pinned).collect();
        let start = Instant::now();
        queue
            .submit(Submit { group: None, jobs }, None)
            .await
            .unwrap();
        submits.push(start.elapsed());
    }
    let claims = 200;
    let mut alone = Vec::new();
    for host in 0..claims {
        let start = Instant::now();
        let given = queue.claim(asks(&format!("host-{host}"))).await.unwrap();
        alone.push(start.elapsed());
        assert_eq!(given.len(), 1);
    }
    let start = Instant::now();
    let all: Vec<_> = (0..hosts)
        .map(|host| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.claim(asks(&format!("host-{host}"))).await.unwrap() })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap().len(), 1);
    }
    (median(submits), median(alone), start.elapsed() / hosts)
}

/// Returns what it costs to take and report a job whose payload is long.
async fn heavy(path: &Path) -> Duration {
    let side = Ours::open(path);
    let payload = format!(r#"{{"task":"{}"}}"#, "x".repeat(120 * 1024));
    let jobs = (0..64).map(|_| NewJob::new(Payload::parse(payload.clone()).unwrap()));
    let jobs = jobs.collect();
    let submit = Submit { group: None, jobs };
    side.0.submit(submit, None).await.unwrap();
    let mut spans = Vec::new();
    for _ in 0..64 {
        let start = Instant::now();
        side.claim_and_complete("host").await;
        spans.push(start.elapsed());
    }
    median(spans)
}

/// Returns CPU and time per job of one dispatch over many hosts.
async fn whole_run(path: &Path) -> (Duration, Duration) {
    let queue = Ours::open(path).0;
    let mut best: Option<(Duration, Duration)> = None;
    for _ in 0..5 {
        let (cpu, wall) = (cpu_used(), Instant::now());
        one_run(&queue).await;
        let count = u32::try_from(RUN).unwrap();
        let spent = ((cpu_used() - cpu) / count, wall.elapsed() / count);
        best = Some(best.map_or(spent, |best| (best.0.min(spent.0), best.1.min(spent.1))));
    }
    best.unwrap_or_default()
}

async fn one_run(queue: &Queue) {
    let group = NewGroup {
        id: GroupId::fresh(),
        kind: "dispatch".into(),
        title: "uptime".into(),
        parent: None,
        meta: Payload::parse("{}").unwrap(),
    };
    let id = group.id;
    let submit = Submit {
        group: Some(IntoGroup::New(group)),
        jobs: (0..u32::try_from(RUN).unwrap()).map(pinned).collect(),
    };
    queue.submit(submit, None).await.unwrap();
    let all: Vec<_> = (0..RUN)
        .map(|host| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let request = ClaimRequest {
                    claimants: vec![Claimant::new(HostId::new(format!("host-{host}")).unwrap())],
                    group: Some(id),
                    lease_for: LEASE,
                };
                let given = queue.claim(request).await.unwrap().pop().unwrap();
                queue.complete(given.lease(), went_well()).await.unwrap();
            })
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    assert!(queue.group(id).await.unwrap().unwrap().counts.is_final());
}

/// Returns the processor time of all threads of this process that live.
fn cpu_used() -> Duration {
    let nanos: u64 = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanos)
}
