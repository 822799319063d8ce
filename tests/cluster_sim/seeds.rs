//! Many seeds, each in a process of its own, as many at once as there are processors.

use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::flaw::Flaw;

/// How many seeds a flaw may need before it is noticed.
const TRIES: u64 = 36;

/// What one seed came to.
pub struct Done {
    pub seed: u64,
    right: bool,
    pub said: String,
}

impl Done {
    pub fn is_right(&self) -> bool {
        self.right
    }

    /// The line that sums up what happened.
    pub fn last_line(&self) -> &str {
        let mut lines = self.said.lines();
        lines
            .rfind(|line| line.starts_with("seed "))
            .unwrap_or_default()
    }
}

/// Returns what to type to see this seed again.
pub fn command_line(seed: u64, flaw: Flaw) -> String {
    let flaw = match flaw {
        Flaw::None => String::new(),
        flaw => format!("SKYCLAW_SIM_FLAW={flaw:?} "),
    };
    format!(
        "SKYCLAW_SIM_SEED={seed} {flaw}cargo test --test cluster_sim -- --exact one_seed --ignored --nocapture"
    )
}

/// Runs one seed.
pub fn run_one(seed: u64, flaw: Flaw) -> Done {
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "one_seed", "--ignored", "--nocapture"])
        .env("SKYCLAW_SIM_SEED", seed.to_string())
        .env("SKYCLAW_SIM_FLAW", format!("{flaw:?}"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [done.stdout, done.stderr].concat();
    Done {
        seed,
        right: done.status.success(),
        said: String::from_utf8_lossy(&said).into_owned(),
    }
}

/// Runs all these seeds and fails if one of them was not right.
pub fn run_all(seeds: Range<u64>) {
    let next = AtomicU64::new(seeds.start);
    let wrong = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let done = run_one(seed, Flaw::None);
                    println!("{}", done.last_line());
                    if !done.is_right() {
                        wrong.lock().unwrap().push(done);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let shown = wrong.iter().map(|done| format!("{}\n\n", done.said));
    let numbers: Vec<u64> = wrong.iter().map(|done| done.seed).collect();
    assert!(
        numbers.is_empty(),
        "{}wrong seeds: {numbers:?}",
        shown.collect::<String>()
    );
}

/// Fails unless one of a few seeds shows the flaw in one of these words.
pub fn is_noticed(flaw: Flaw, says: &[&str]) {
    let mut said = Vec::new();
    for seed in 0..TRIES {
        let done = run_one(seed, flaw);
        if !done.is_right() && says.iter().any(|words| done.said.contains(words)) {
            println!("{flaw:?}: {}", done.last_line());
            return;
        }
        said.push(done.last_line().to_owned());
    }
    panic!("{flaw:?} was not noticed in any of {TRIES} seeds: {said:#?}");
}
