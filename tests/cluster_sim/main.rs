//! Clusters in simulated time: networks break, machines die, clocks are wrong, and nothing that was acknowledged
//! is lost, leased twice or taken back. Everything follows from a seed:
//!
//!     SKYCLAW_SIM_SEED=7 cargo test --test cluster_sim -- --exact one_seed --ignored --nocapture
//!
//! repeats number 7, `SKYCLAW_SIM_FLAW=NoReprieve` (see `flaw.rs`) with a cluster that is broken on purpose. Each
//! seed has a process of its own, because libraries count things per process.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic and speak"
)]

mod admin;
mod board;
mod carrier;
mod chance;
mod check;
mod client;
mod disk;
mod ends;
mod faults;
mod flaw;
mod history;
mod load;
mod member;
mod place;
mod run;
mod seeds;
mod trouble;
mod wire;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use flaw::Flaw;
use run::{Report, Settings, Wrong};

/// How long things go wrong in one simulation.
const FAULTS_FOR: Duration = Duration::from_secs(8);

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Returns what the first panic said, wherever it was: tasks of a member swallow theirs.
fn panicked() -> Option<String> {
    let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    panics.first().cloned()
}

/// Runs one simulation on a thread whose randomness is the seed's.
fn simulate(seed: u64, flaw: Flaw) -> Result<Report, Wrong> {
    std::panic::set_hook(Box::new(|info| {
        let trace = std::backtrace::Backtrace::capture();
        let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        panics.push(format!("{info}\n{trace}"));
    }));
    let settings = Settings {
        seed,
        flaw,
        faults_for: FAULTS_FOR,
    };
    let work = move || {
        chance::fix(seed);
        run::run(settings)
    };
    let done = std::thread::spawn(work).join();
    let _ = std::panic::take_hook();
    match done {
        Ok(Ok(report)) => panicked().map_or(Ok(report), Err),
        Ok(Err(wrong)) => Err(wrong),
        Err(_) => Err(panicked().unwrap_or_default()),
    }
}

/// What the other tests call, each time in a process of its own.
#[test]
#[ignore = "one seed, named in SKYCLAW_SIM_SEED"]
fn one_seed() {
    let Ok(seed) = std::env::var("SKYCLAW_SIM_SEED") else {
        eprintln!("SKYCLAW_SIM_SEED names no seed");
        return;
    };
    let seed = seed.parse().unwrap();
    let flaw = std::env::var("SKYCLAW_SIM_FLAW").map_or(Flaw::None, |flaw| flaw.parse().unwrap());
    if let Ok(level) = std::env::var("SKYCLAW_SIM_LOG") {
        let log = tracing_subscriber::fmt().with_writer(std::io::stderr);
        let level: tracing::Level = level.parse().unwrap();
        log.with_max_level(level).init();
    }
    println!("seed {seed}");
    match simulate(seed, flaw) {
        Ok(report) => println!("seed {seed} kept every promise: {report}"),
        Err(wrong) => {
            println!("seed {seed} is WRONG: {wrong}");
            println!("again with: {}", seeds::command_line(seed, flaw));
            panic!("seed {seed}");
        }
    }
}

#[test]
fn every_seed_keeps_every_promise() {
    // The same numbers each time: whoever broke something should see it, not whoever comes after.
    let from = number("SKYCLAW_SIM_FROM", 0);
    let long = std::env::var_os("SKYCLAW_TEST_LONG").is_some();
    let count = number("SKYCLAW_SIM_COUNT", if long { 2000 } else { 30 });
    seeds::run_all(from..from + count);
}

/// The figures of `docs/cluster.md`.
#[test]
#[ignore = "counts for a while, and what it counts is for people"]
fn load_of_ten_thousand_hosts() {
    let work = || {
        chance::fix(1);
        load::count(1);
    };
    std::thread::spawn(work).join().unwrap();
}

fn number(variable: &str, otherwise: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn a_seed_repeats_itself() {
    for seed in [1, 2] {
        let [one, other] = [(), ()].map(|()| seeds::run_one(seed, Flaw::None));
        assert!(one.is_right(), "{}", one.said);
        assert_eq!(one.last_line(), other.last_line());
    }
}

/// Each way to be broken, and what is said about it within a few seeds.
#[test]
fn whoever_is_broken_is_noticed() {
    let cases: [(Flaw, &[&str]); 7] = [
        (Flaw::AcknowledgesEarly, &["is missing", "went back"]),
        (Flaw::ReadsUnconfirmed, &["went back", "was read"]),
        (Flaw::ForgetsKeys, &["is there already", "instead of"]),
        (Flaw::NoReprieve, &["two leases"]),
        (
            Flaw::DiskLies,
            &[
                "is missing",
                "went back",
                "differ",
                "but in the end",
                "does not fit",
            ],
        ),
        (Flaw::SyncLies, &["does not fit"]),
        (Flaw::Twin, &["two leaders in term"]),
    ];
    for (flaw, says) in cases {
        seeds::is_noticed(flaw, says);
    }
}
