//! Loads that keep callers busy, and how many operations per second come out, of us and of peers.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::Bench;
use crate::beanstalk::Beanstalk;
use crate::http::Connection;
use crate::postgres::Postgres;
use crate::process::own_cpu;
use crate::server::Coordinator;
use crate::table::{Row, Target};
use crate::wire;

/// The longest that one measurement goes on.
pub const LONGEST: Duration = Duration::from_secs(1);

/// What the callers do again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Put jobs in, so many with each request.
    Submit(usize),
    /// Take so many jobs at once and report them done.
    ClaimAndComplete(usize),
}

/// One load with its callers, and what is asked of it.
struct Case {
    name: &'static str,
    load: Load,
    callers: usize,
    target: f64,
}

const CASES: [Case; 5] = [
    Case {
        name: "submit",
        load: Load::Submit(1),
        callers: 1,
        target: 3_000.0,
    },
    Case {
        name: "submit",
        load: Load::Submit(1),
        callers: 16,
        target: 12_000.0,
    },
    Case {
        name: "submit, 100 a request",
        load: Load::Submit(100),
        callers: 4,
        target: 60_000.0,
    },
    Case {
        name: "claim and complete",
        load: Load::ClaimAndComplete(1),
        callers: 16,
        target: 9_000.0,
    },
    Case {
        name: "claim and complete, 50 a request",
        load: Load::ClaimAndComplete(50),
        callers: 4,
        target: 36_000.0,
    },
];

/// What came of one measurement.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rate {
    /// Jobs per second.
    pub per_second: f64,
    /// Processor time of the server per job, in microseconds.
    pub server_micros: f64,
    /// Processor time of the callers per job, in microseconds.
    pub client_micros: f64,
}

impl Rate {
    /// Returns the faster of the two.
    #[must_use]
    pub fn or_faster(self, other: Self) -> Self {
        match other.per_second > self.per_second {
            true => other,
            false => self,
        }
    }
}

/// Measures every case, us and the peers in turn, and keeps the best of the rounds of each.
pub async fn measure(bench: &Bench) -> Vec<Row> {
    let postgres = match Postgres::start(&bench.place).await {
        Ok(started) => Some(started),
        Err(why) => {
            bench.note(&format!("PostgreSQL is left out: {why}"));
            None
        }
    };
    if Beanstalk::program().is_none() {
        bench.note("beanstalkd is left out: it is not installed");
    }
    let mut rows = vec![disk(bench)];
    for case in CASES {
        bench.note(&format!("  {}, {} callers", case.name, case.callers));
        rows.push(one(bench, &case, postgres.as_ref()).await);
    }
    if let Some(postgres) = postgres {
        postgres.stop().await;
    }
    rows
}

/// Measures what the disk allows one writer who waits for each write: the measure for all that follows.
fn disk(bench: &Bench) -> Row {
    let mut file = tempfile::tempfile_in(&bench.place).unwrap();
    let page = [0_u8; 4096];
    let (mut written, start) = (0_u32, Instant::now());
    while start.elapsed() < LONGEST / 2 {
        file.write_all(&page).unwrap();
        file.sync_data().unwrap();
        written += 1;
    }
    let rate = f64::from(written) / start.elapsed().as_secs_f64();
    Row::new("write 4 KiB and sync, nothing else", rate, "/s").callers(1)
}

async fn one(bench: &Bench, case: &Case, postgres: Option<&Postgres>) -> Row {
    let mut ours = Rate::default();
    let mut peers: Vec<(&'static str, f64)> = Vec::new();
    for _ in 0..bench.rounds {
        ours = ours.or_faster(fresh(bench, case.load, case.callers).await);
        if let Some(postgres) = postgres {
            let rate = postgres.rate(case.load, case.callers).await;
            keep(&mut peers, "PostgreSQL", rate);
        }
        // It knows no batches.
        let single = matches!(case.load, Load::Submit(1) | Load::ClaimAndComplete(1));
        if single && let Some(rate) = Beanstalk::rate(&bench.place, case.load, case.callers).await {
            keep(&mut peers, "beanstalkd", rate);
        }
    }
    let row = Row::rate(case.name, ours.per_second)
        .callers(case.callers)
        .target(Target::AtLeast(case.target))
        .note(&format!(
            "{:.0} µs of CPU a job in the coordinator, {:.0} µs in the callers",
            ours.server_micros, ours.client_micros
        ));
    peers
        .into_iter()
        .fold(row, |row, (name, rate)| row.peer(name, rate))
}

fn keep(peers: &mut Vec<(&'static str, f64)>, name: &'static str, rate: f64) {
    match peers.iter_mut().find(|(known, _)| *known == name) {
        Some((_, best)) => *best = best.max(rate),
        None => peers.push((name, rate)),
    }
}

/// Measures a coordinator that was just started.
async fn fresh(bench: &Bench, load: Load, callers: usize) -> Rate {
    let coordinator = Coordinator::start(&bench.place).await;
    let filled = match load {
        Load::Submit(_) => 0,
        Load::ClaimAndComplete(1) => 30_000,
        Load::ClaimAndComplete(_) => 90_000,
    };
    coordinator.fill(filled).await;
    let (rate, done) = drive(&coordinator, load, callers).await;
    let counts = coordinator.counts().await;
    let (left, filled) = (counts.queued + counts.leased, filled as u64);
    // What was answered must be there, or it was not the work that was asked for.
    let expected = match load {
        Load::Submit(_) => (done, 0),
        Load::ClaimAndComplete(_) => (filled - done, done),
    };
    assert_eq!((left, counts.completed), expected);
    coordinator.stop().await;
    rate
}

/// Puts `load` on a coordinator; returns the rate and how many jobs were handled.
pub async fn drive(coordinator: &Coordinator, load: Load, callers: usize) -> (Rate, u64) {
    let parallel = match load {
        Load::Submit(size) | Load::ClaimAndComplete(size) => size,
    };
    let hosts = coordinator.hosts(callers, parallel).await;
    let cpu = (coordinator.process.cpu(), own_cpu());
    let start = Instant::now();
    let callers: Vec<_> = hosts
        .into_iter()
        .map(|(host, connection)| tokio::spawn(caller(host, connection, load, start)))
        .collect();
    let mut done = 0_u64;
    for caller in callers {
        done += caller.await.unwrap();
    }
    let took = start.elapsed();
    let cpu = (coordinator.process.cpu() - cpu.0, own_cpu() - cpu.1);
    let rate = Rate {
        per_second: done as f64 / took.as_secs_f64(),
        server_micros: cpu.0.as_secs_f64() * 1e6 / done as f64,
        client_micros: cpu.1.as_secs_f64() * 1e6 / done as f64,
    };
    (rate, done)
}

/// Works until the time is up or there is no work; returns how many jobs it handled.
async fn caller(host: String, mut connection: Connection, load: Load, start: Instant) -> u64 {
    let mut done = 0;
    while start.elapsed() < LONGEST {
        let count = match load {
            Load::Submit(1) => {
                connection.post("/v1/jobs", wire::TRUE.as_bytes()).await;
                1
            }
            Load::Submit(size) => {
                let body = wire::submit_many(wire::TRUE, size);
                connection.post("/v1/jobs/batch", body.as_bytes()).await;
                size as u64
            }
            Load::ClaimAndComplete(1) => claim_and_complete(&host, &mut connection).await,
            Load::ClaimAndComplete(size) => claim_many(&host, &mut connection, size).await,
        };
        if count == 0 {
            break;
        }
        done += count;
    }
    done
}

/// Takes one job and reports it done, as a host of one slot does.
async fn claim_and_complete(host: &str, connection: &mut Connection) -> u64 {
    let answer = connection
        .post(&format!("/v1/hosts/{host}/claim"), b"{}")
        .await;
    let Some(lease) = wire::claimed(answer) else {
        return 0;
    };
    let path = format!("/v1/jobs/{}/complete", lease.id);
    let body = lease.complete(host);
    connection.post(&path, body.as_bytes()).await;
    1
}

/// Takes up to `size` jobs and reports them done together; returns how many.
pub async fn claim_many(host: &str, connection: &mut Connection, size: usize) -> u64 {
    let claim = format!(r#"{{"max":{size}}}"#);
    let answer = connection
        .post(&format!("/v1/hosts/{host}/claim"), claim.as_bytes())
        .await;
    let leases = wire::claimed_many(answer);
    if leases.is_empty() {
        return 0;
    }
    let count = leases.len() as u64;
    let body = wire::complete_many(&leases);
    connection
        .post(&format!("/v1/hosts/{host}/complete"), body.as_bytes())
        .await;
    count
}
