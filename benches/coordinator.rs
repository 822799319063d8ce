//! How fast the coordinator and the host daemon are: the real programs, driven over HTTP, beside
//! peers in the same run.
//!
//! `cargo bench --bench coordinator` prints tables; with `-- --json` one JSON document; with
//! `-- --quick` shorter; with words, as in `-- submit wake`, only parts that have one in their name.
//! Files lie on disk, and an answer means that what it says is there. Peers that are not installed
//! are left out and named.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "a benchmark prints what it measures and may panic"
)]

#[path = "coordinator/beanstalk.rs"]
mod beanstalk;
#[path = "coordinator/daemon.rs"]
mod daemon;
#[path = "coordinator/http.rs"]
mod http;
#[path = "coordinator/idle.rs"]
mod idle;
#[path = "coordinator/postgres.rs"]
mod postgres;
#[path = "coordinator/process.rs"]
mod process;
#[path = "coordinator/rates.rs"]
mod rates;
#[path = "coordinator/server.rs"]
mod server;
#[path = "coordinator/standing.rs"]
mod standing;
#[path = "coordinator/table.rs"]
mod table;
#[path = "coordinator/wire.rs"]
mod wire;

use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use table::Row;
use tokio::signal::unix::{SignalKind, signal};

/// How long one part may take.
const LIMIT: Duration = Duration::from_secs(180);

/// What every part is told.
#[derive(Debug, Clone)]
pub struct Bench {
    /// Where files lie.
    pub place: PathBuf,
    /// How often each case is measured; the best counts, because others use the machine too.
    pub rounds: usize,
    /// How many times something short is timed.
    pub samples: usize,
    /// How long idle programs are watched.
    pub span: Duration,
}

impl Bench {
    /// Tells whoever watches.
    pub fn note(&self, text: &str) {
        eprintln!("{text}");
    }
}

type Measured = Pin<Box<dyn Future<Output = Vec<Row>> + Send>>;

/// A name to choose by, and how to measure.
type Part = (&'static str, fn(Bench) -> Measured);

/// Needs only the coordinator.
const COORDINATOR: [Part; 6] = [
    ("coordinator rates", |bench| {
        Box::pin(async move { rates::measure(&bench).await })
    }),
    ("coordinator finished", |bench| {
        Box::pin(async move { standing::finished(&bench).await })
    }),
    ("coordinator queued", |bench| {
        Box::pin(async move { standing::queued(&bench).await })
    }),
    ("coordinator hosts", |bench| {
        Box::pin(async move { idle::hosts(&bench).await })
    }),
    ("coordinator wake", |bench| {
        Box::pin(async move { idle::wake(&bench).await })
    }),
    ("coordinator wake-one", |bench| {
        Box::pin(async move { idle::wake_one(&bench).await })
    }),
];

/// Needs the daemon too.
const DAEMON: [Part; 2] = [
    ("daemon rate", |bench| {
        Box::pin(async move { daemon::rate(&bench).await })
    }),
    ("daemon first", |bench| {
        Box::pin(async move { daemon::first_instruction(&bench).await })
    }),
];

fn main() -> ExitCode {
    // Cargo passes `--bench`; it says nothing.
    let (options, words): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|arg| arg.starts_with('-'));
    let has = |option: &str| options.iter().any(|one| one == option);
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&place).unwrap();
    let quick = has("--quick");
    let bench = Bench {
        place,
        rounds: if quick { 1 } else { 3 },
        samples: if quick { 60 } else { 200 },
        span: Duration::from_secs(if quick { 3 } else { 10 }),
    };
    // One thread: the load must leave the other cores to what is measured.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let Some(rows) = runtime.block_on(until_told(all(&bench, &words))) else {
        return ExitCode::from(130);
    };
    match has("--json") {
        true => {
            let table = table::table(&rows);
            let rows: Vec<_> = rows.iter().map(Row::json).collect();
            println!(
                "{}",
                json!({"place": bench.place, "rows": rows, "table": table})
            );
        }
        false => println!("{}", table::table(&rows)),
    }
    ExitCode::SUCCESS
}

async fn all(bench: &Bench, words: &[String]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, measure) in COORDINATOR.into_iter().chain(DAEMON) {
        let wanted = words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
        if !wanted {
            continue;
        }
        bench.note(name);
        let mut task = tokio::spawn(measure(bench.clone()));
        match tokio::time::timeout(LIMIT, &mut task).await {
            Ok(Ok(measured)) => rows.extend(measured),
            Ok(Err(why)) => rows.push(Row::failed(name, &why.to_string())),
            Err(_) => {
                task.abort();
                // Its programs end when it is dropped.
                let _cancelled = task.await;
                rows.push(Row::failed(name, "it took too long"));
            }
        }
    }
    rows
}

/// Returns nothing if the bench is told to end; what it started ends when `work` is dropped.
async fn until_told<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut end = signal(SignalKind::terminate()).unwrap();
    tokio::select! {
        done = work => Some(done),
        _ = end.recv() => None,
        _ = tokio::signal::ctrl_c() => None,
    }
}
