//! Hosts that wait: what they cost, how soon one hears of a job, and that no other does.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use crate::Bench;
use crate::http::Connection;
use crate::server::Coordinator;
use crate::standing::mib;
use crate::table::{Row, Target};
use crate::wire;

/// A claim that waits.
const WAIT: &[u8] = br#"{"max":1,"waitMs":30000}"#;

/// How many hosts wait.
const HOSTS: usize = 1_000;

/// How often a host tells that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Measures what many waiting hosts cost, alone and with their heartbeats.
pub async fn hosts(bench: &Bench) -> Vec<Row> {
    let coordinator = Coordinator::start(&bench.place).await;
    let hosts = coordinator.hosts(HOSTS, 1).await;
    let waiting: Vec<_> = hosts
        .into_iter()
        .map(|(host, mut connection)| {
            tokio::spawn(async move {
                let path = format!("/v1/hosts/{host}/claim");
                loop {
                    connection.post(&path, WAIT).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let silent = share(&coordinator, bench.span).await;
    let beating = tokio::spawn(beat(coordinator.connect().await));
    let beaten = share(&coordinator, bench.span).await;
    let memory = coordinator.process.memory();
    let ended = waiting.iter().filter(|task| task.is_finished()).count();
    let ended = ended + usize::from(beating.is_finished());
    assert_eq!(ended, 0, "a host was turned away");
    for task in waiting.into_iter().chain([beating]) {
        task.abort();
    }
    coordinator.stop().await;
    let seconds = bench.span.as_secs();
    vec![
        Row::new(
            &format!("memory with {HOSTS} waiting hosts"),
            mib(memory),
            "MiB",
        )
        .target(Target::Below(150.0)),
        Row::new(
            &format!("CPU with {HOSTS} waiting hosts"),
            silent,
            "% of a core",
        )
        .target(Target::Below(2.0))
        .note(&format!("in long polls, over {seconds} s")),
        Row::new(
            &format!("CPU with {HOSTS} waiting hosts and their heartbeats"),
            beaten,
            "% of a core",
        )
        .note(&format!(
            "one each {} s over one connection, beside the long polls",
            HEARTBEAT.as_secs()
        )),
    ]
}

/// Returns how much of a core is used over `span`, in percent.
async fn share(coordinator: &Coordinator, span: Duration) -> f64 {
    let (cpu, start) = (coordinator.process.cpu(), Instant::now());
    tokio::time::sleep(span).await;
    let used = coordinator.process.cpu() - cpu;
    100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64()
}

/// Sends the heartbeats of all hosts in turn.
async fn beat(mut connection: Connection) {
    let count = u32::try_from(HOSTS).unwrap();
    let mut every = tokio::time::interval(HEARTBEAT / count);
    for host in (0..HOSTS).cycle() {
        every.tick().await;
        let path = format!("/v1/hosts/host-{host}/heartbeat");
        connection.post(&path, br#"{"leases":[]}"#).await;
    }
}

/// What a waiting host tells when it is given something.
struct Given {
    at: Instant,
    host: usize,
    jobs: usize,
}

/// Hosts that wait, report what they are given, and wait again.
struct Waiters {
    given: UnboundedReceiver<Given>,
    tasks: Vec<JoinHandle<()>>,
}

impl Waiters {
    async fn start(coordinator: &Coordinator, count: usize) -> Self {
        let (tell, given) = mpsc::unbounded_channel();
        let hosts = coordinator.hosts(count, 1).await;
        let tasks = hosts
            .into_iter()
            .enumerate()
            .map(|(number, (host, connection))| {
                tokio::spawn(wait(number, host, connection, tell.clone()))
            })
            .collect();
        let waiters = Self { given, tasks };
        tokio::time::sleep(Duration::from_millis(300)).await;
        waiters
    }

    async fn next(&mut self) -> Given {
        let given = tokio::time::timeout(Duration::from_secs(5), self.given.recv()).await;
        given
            .expect("a waiting host is given the job within 5 s")
            .expect("waiting hosts live")
    }

    fn stop(self) {
        for task in self.tasks {
            task.abort();
        }
    }
}

async fn wait(
    number: usize,
    host: String,
    mut connection: Connection,
    tell: UnboundedSender<Given>,
) {
    let claim = format!("/v1/hosts/{host}/claim");
    let complete = format!("/v1/hosts/{host}/complete");
    loop {
        let answer = connection.post(&claim, WAIT).await;
        let at = Instant::now();
        let leases = wire::claimed_many(answer);
        let given = Given {
            at,
            host: number,
            jobs: leases.len(),
        };
        let body = wire::complete_many(&leases);
        if !leases.is_empty() {
            connection.post(&complete, body.as_bytes()).await;
        }
        if tell.send(given).is_err() {
            return;
        }
    }
}

/// Measures how long a submitted job takes to reach a host that waits.
pub async fn wake(bench: &Bench) -> Vec<Row> {
    let coordinator = Coordinator::start(&bench.place).await;
    let mut waiters = Waiters::start(&coordinator, 1).await;
    let mut connection = coordinator.connect().await;
    let mut spans = Vec::with_capacity(bench.samples);
    for _ in 0..bench.samples {
        let start = Instant::now();
        connection.post("/v1/jobs", wire::TRUE.as_bytes()).await;
        spans.push(waiters.next().await.at - start);
        // The host has to be waiting again.
        tokio::time::sleep(Duration::from_millis(8)).await;
    }
    waiters.stop();
    coordinator.stop().await;
    let (half, most) = (percentile(&mut spans, 50), percentile(&mut spans, 99));
    vec![
        Row::new("submit to the answer of a long poll, p50", half, "ms")
            .target(Target::Below(5.0))
            .note(&format!(
                "p99 {most:.2} ms of {} jobs, one at a time",
                spans.len()
            )),
    ]
}

/// Counts how many of many waiting hosts are answered for one job.
pub async fn wake_one(bench: &Bench) -> Vec<Row> {
    const WAITING: usize = 100;
    let coordinator = Coordinator::start(&bench.place).await;
    let mut waiters = Waiters::start(&coordinator, WAITING).await;
    let mut connection = coordinator.connect().await;
    let jobs = bench.samples / 4;
    let (mut answered, mut hosts) = (0_usize, std::collections::BTreeSet::new());
    for _ in 0..jobs {
        connection.post("/v1/jobs", wire::TRUE.as_bytes()).await;
        let mut given = vec![waiters.next().await];
        // Whoever is woken in vain is answered or not within this time.
        tokio::time::sleep(Duration::from_millis(20)).await;
        given.extend(std::iter::from_fn(|| waiters.given.try_recv().ok()));
        assert_eq!(given.iter().map(|one| one.jobs).sum::<usize>(), 1);
        answered += given.len();
        hosts.extend(given.iter().map(|one| one.host));
    }
    waiters.stop();
    coordinator.stop().await;
    let each = answered as f64 / jobs as f64;
    let name = format!("answered per job of {WAITING} that wait");
    vec![
        Row::new(&name, each, "hosts")
            .target(Target::AtMost(1.0))
            .note(&format!("{jobs} jobs went to {} hosts", hosts.len())),
    ]
}

/// Returns a percentile in milliseconds.
pub fn percentile(spans: &mut [Duration], percent: usize) -> f64 {
    spans.sort_unstable();
    let at = (spans.len() * percent).div_ceil(100).max(1) - 1;
    spans[at].as_secs_f64() * 1e3
}
