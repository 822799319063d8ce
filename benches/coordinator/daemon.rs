//! The whole way: jobs go into the coordinator and a host daemon runs them, beside `xargs`.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use tokio::process::Command;

use crate::Bench;
use crate::http::Connection;
use crate::idle::percentile;
use crate::server::{Coordinator, Host};
use crate::table::{Row, Target};
use crate::wire;

/// How many jobs run at once.
const SLOTS: usize = 4;

/// A job that tells when it began, by the clock of the machine.
const DATE: &str = r#"{"payload":{"kind":"shell","command":"date","args":["+%s%N"]},"requirement":{"requiredCapabilities":["shell"]}}"#;

#[derive(Deserialize)]
struct Reply {
    job: Job,
}

#[derive(Deserialize)]
struct Job {
    id: String,
    status: String,
    result: Option<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    stdout: String,
}

#[derive(Deserialize)]
struct Batch {
    ids: Vec<String>,
}

/// Measures how many jobs per second go through coordinator and daemon.
pub async fn rate(bench: &Bench) -> Vec<Row> {
    let mut rows = Vec::new();
    for (count, rounds) in [(2_000, bench.rounds.min(2)), (10_000, 1)] {
        let (mut ours, mut plain) = (0.0_f64, 0.0_f64);
        let mut cpu = (0.0, 0.0);
        for _ in 0..rounds {
            let (rate, used) = through(bench, count).await;
            if rate > ours {
                (ours, cpu) = (rate, used);
            }
            plain = plain.max(xargs(&bench.place, count).await);
        }
        let row = Row::rate(&format!("{count} jobs of `true`, {SLOTS} slots"), ours)
            .target(Target::AtLeast(1_200.0))
            .peer(&format!("xargs -P{SLOTS}"), plain)
            .note(&format!(
                "{:.0} µs of CPU a job in the coordinator, {:.0} µs in the daemon without its children",
                cpu.0, cpu.1
            ));
        rows.push(row);
    }
    rows
}

/// Puts jobs in at once and waits for the last; returns the rate and what they cost.
async fn through(bench: &Bench, count: usize) -> (f64, (f64, f64)) {
    let coordinator = Coordinator::start(&bench.place).await;
    let host = Host::start(&bench.place, &coordinator, SLOTS).await;
    let mut connection = coordinator.connect().await;
    let body = wire::submit_many(wire::TRUE, count);
    let before = (coordinator.process.cpu(), host.process.cpu());
    let start = Instant::now();
    let answer = connection.post("/v1/jobs/batch", body.as_bytes()).await;
    let ids = serde_json::from_slice::<Batch>(answer).unwrap().ids;
    // Jobs begin in order, so when the last has ended only a slot's worth of others can be left.
    let last = ids.last().unwrap();
    ended(&mut connection, last, Duration::from_millis(5)).await;
    let counts = loop {
        let counts = coordinator.counts().await;
        if counts.queued + counts.leased == 0 {
            break counts;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    let took = start.elapsed();
    assert_eq!(counts.completed, count as u64, "{counts:?}");
    let micros = |span: Duration| span.as_secs_f64() * 1e6 / count as f64;
    let used = (
        micros(coordinator.process.cpu() - before.0),
        micros(host.process.cpu() - before.1),
    );
    host.stop().await;
    coordinator.stop().await;
    (count as f64 / took.as_secs_f64(), used)
}

/// Asks for a job until it has ended.
async fn ended(connection: &mut Connection, id: &str, pause: Duration) -> Job {
    let path = format!("/v1/jobs/{id}");
    loop {
        let answer = connection.get(&path).await;
        let job = serde_json::from_slice::<Reply>(answer).unwrap().job;
        match job.status.as_str() {
            "completed" => return job,
            "failed" => panic!("{}", String::from_utf8_lossy(answer)),
            _ => tokio::time::sleep(pause).await,
        }
    }
}

/// Returns how many times per second `xargs` runs `true`.
async fn xargs(place: &Path, count: usize) -> f64 {
    let file = tempfile::NamedTempFile::new_in(place).unwrap();
    std::fs::write(file.path(), "x\n".repeat(count)).unwrap();
    let mut command = Command::new("xargs");
    command.args(["-n1", &format!("-P{SLOTS}"), "-a"]);
    command.arg(file.path()).arg("true");
    let start = Instant::now();
    let done = command.kill_on_drop(true).status().await.unwrap();
    assert!(done.success());
    count as f64 / start.elapsed().as_secs_f64()
}

/// Measures how long an idle daemon takes until a submitted job runs.
pub async fn first_instruction(bench: &Bench) -> Vec<Row> {
    let coordinator = Coordinator::start(&bench.place).await;
    let host = Host::start(&bench.place, &coordinator, SLOTS).await;
    let mut connection = coordinator.connect().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (mut spans, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..bench.samples / 2 {
        let start = now();
        let answer = connection.post("/v1/jobs", DATE.as_bytes()).await;
        let id = serde_json::from_slice::<Reply>(answer).unwrap().job.id;
        // The result is looked for when it must be there: asking would disturb.
        tokio::time::sleep(Duration::from_millis(15)).await;
        let job = ended(&mut connection, &id, Duration::from_millis(5)).await;
        spans.push(printed(&job.result.expect("an ended job has a result").stdout) - start);
        bare.push(started_by_us().await);
    }
    host.stop().await;
    coordinator.stop().await;
    let (half, most) = (percentile(&mut spans, 50), percentile(&mut spans, 99));
    let floor = percentile(&mut bare, 50);
    vec![
        Row::new("submit to the first instruction, p50", half, "ms")
            .target(Target::Below(4.0))
            .peer("started by hand", floor)
            .note(&format!(
                "p99 {most:.2} ms of {} jobs, one at a time; the job is `date`, whose own start counts",
                spans.len()
            )),
    ]
}

/// Returns how long the same program takes if we start it.
async fn started_by_us() -> Duration {
    let mut command = Command::new("date");
    command.arg("+%s%N").stdin(Stdio::null()).kill_on_drop(true);
    let start = now();
    let done = command.output().await.unwrap();
    printed(&String::from_utf8(done.stdout).unwrap()) - start
}

fn printed(text: &str) -> Duration {
    Duration::from_nanos(text.trim().parse().unwrap())
}

/// Returns the machine's clock as `date` sees it.
fn now() -> Duration {
    clock_gettime(ClockId::Realtime).try_into().unwrap()
}
