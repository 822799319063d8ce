//! How fast the queue is, beside a bare loop over the same file format in the same run.
//!
//! `cargo bench --bench queue` prints tables; with `-- --json` one JSON document; with a word, as
//! in `-- claim`, only what has the word in its name. Rates depend on the disk and on who else uses
//! the machine; the ratio to the bare loop hardly does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark prints what it measures and may panic"
)]

#[path = "queue/bare.rs"]
mod bare;
#[path = "queue/costs.rs"]
mod costs;
#[path = "queue/sides.rs"]
mod sides;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use costs::Costs;
use sides::{Bare, Ours, Side};

/// The longest that one measurement goes on.
const LONGEST: Duration = Duration::from_millis(700);

/// How often each case is measured; the best counts, because others use the machine too.
const ROUNDS: usize = 4;

/// Callers at once, and how many operations one measurement makes.
const CASES: [(usize, u64); 3] = [(1, 3_000), (16, 12_000), (64, 24_000)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Submit,
    ClaimAndComplete,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::ClaimAndComplete => "claim+complete",
        }
    }
}

struct Row {
    operation: Operation,
    callers: usize,
    /// Per second.
    ours: f64,
    /// Per second.
    bare: f64,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.ours / self.bare
    }
}

fn main() {
    // Cargo passes `--bench`; it says nothing.
    let json = std::env::args().any(|arg| arg == "--json");
    let word = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let wanted = |name: &str| {
        word.as_ref()
            .is_none_or(|word| name.contains(word.as_str()))
    };
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&place).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let (rows, costs) = runtime.block_on(async {
        let mut rows = Vec::new();
        let operations = [Operation::Submit, Operation::ClaimAndComplete];
        for operation in operations.into_iter().filter(|one| wanted(one.name())) {
            for (callers, count) in CASES {
                rows.push(compare(&place, operation, callers, count).await);
            }
        }
        let costs = match wanted("costs") {
            true => costs::measure(&place).await,
            false => Costs(Vec::new()),
        };
        (rows, costs)
    });
    match json {
        true => print_json(&place, &rows, &costs),
        false => print_table(&place, &rows, &costs),
    }
}

async fn compare(place: &Path, operation: Operation, callers: usize, count: u64) -> Row {
    let mut row = Row {
        operation,
        callers,
        ours: 0.0,
        bare: 0.0,
    };
    for _ in 0..ROUNDS {
        row.ours = row
            .ours
            .max(rate::<Ours>(place, operation, callers, count).await);
        row.bare = row
            .bare
            .max(rate::<Bare>(place, operation, callers, count).await);
    }
    row
}

/// Returns how many operations per second `callers` get done on a fresh file.
async fn rate<S: Side>(place: &Path, operation: Operation, callers: usize, count: u64) -> f64 {
    let dir = tempfile::tempdir_in(place).unwrap();
    let side = S::open(&dir.path().join("queue.db"));
    if operation == Operation::ClaimAndComplete {
        side.fill(count).await;
    }
    let begun = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let callers: Vec<_> = (0..callers)
        .map(|number| {
            let (side, begun) = (side.clone(), Arc::clone(&begun));
            tokio::spawn(async move {
                let host = format!("host-{number}");
                let mut done = 0_u64;
                while begun.fetch_add(1, Ordering::Relaxed) < count && start.elapsed() < LONGEST {
                    match operation {
                        Operation::Submit => side.submit().await,
                        Operation::ClaimAndComplete => side.claim_and_complete(&host).await,
                    }
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for caller in callers {
        done += caller.await.unwrap();
    }
    let took = start.elapsed();
    // Both sides must have left the same rows behind, or they were not doing the same work.
    drop(side);
    let (jobs, attempts) = bare::left_behind(&dir.path().join("queue.db"));
    let expected = match operation {
        Operation::Submit => (done, 0),
        Operation::ClaimAndComplete => (count, done),
    };
    assert_eq!((jobs, attempts), expected);
    done as f64 / took.as_secs_f64()
}

fn print_table(place: &Path, rows: &[Row], costs: &Costs) {
    println!("files in {}{}", place.display(), costs::warning(place));
    println!(
        "{:<16}{:>8}{:>12}{:>12}{:>8}",
        "operation", "callers", "ours/s", "bare/s", "ratio"
    );
    for row in rows {
        println!(
            "{:<16}{:>8}{:>12.0}{:>12.0}{:>8.2}",
            row.operation.name(),
            row.callers,
            row.ours,
            row.bare,
            row.ratio()
        );
    }
    println!();
    for cost in &costs.0 {
        println!("{:<68}{:>10.1} {}", cost.what, cost.amount, cost.unit);
    }
}

fn print_json(place: &Path, rows: &[Row], costs: &Costs) {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "operation": row.operation.name(),
                "callers": row.callers,
                "oursPerSecond": row.ours,
                "barePerSecond": row.bare,
                "ratio": row.ratio(),
            })
        })
        .collect();
    let costs: Vec<_> = costs
        .0
        .iter()
        .map(|cost| json!({"what": cost.what, "amount": cost.amount, "unit": cost.unit}))
        .collect();
    println!("{}", json!({"place": place, "rates": rows, "costs": costs}));
}
