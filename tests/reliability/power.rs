//! The power goes at random moments under load: whatever was answered was on disk, and the file is whole.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;

use crate::common::coordinator::Plan;
use crate::common::power::{Loss, Power};
use crate::common::{SOON, eventually};
use crate::kills::{Told, rounds};

#[test]
fn what_was_answered_is_there_after_a_loss_of_power() {
    let dir = tempfile::tempdir().unwrap();
    let mut power = Power::over(dir.path());
    let plan = |power: &Power| {
        let plan = Plan::new(dir.path()).env("SKYCLAW_LEASE_MS", "2000");
        let env = power.env();
        env.iter()
            .fold(plan, |plan, (name, value)| plan.env(name, value))
    };
    let told = Told::default();
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    for round in 0..rounds(10) {
        let coordinator = plan(&power).start();
        let moment = u64::from(round).wrapping_mul(7919) % 400;
        told.load(coordinator, round, Duration::from_millis(20 + moment));
        power.lose(match round % 2 {
            0 => Loss::All,
            _ => Loss::Some(seed + u64::from(round)),
        });
    }
    // It looks the file over before it serves, and says so if anything is wrong.
    let coordinator = plan(&power).start();
    told.check(&coordinator);
    assert_eq!(coordinator.stop(), Some(0));
    assert_eq!(quick_check(&dir.path().join("coordinator.db")), "ok");
}

fn quick_check(path: &Path) -> String {
    let connection = Connection::open(path).unwrap();
    connection
        .query_row("PRAGMA quick_check", [], |row| row.get(0))
        .unwrap()
}

/// A program that commits and says so, with the carefulness of the variable: this test, started again.
const CAREFULNESS: &str = "SKYCLAW_TEST_SYNCHRONOUS";
const DATABASE: &str = "SKYCLAW_TEST_DATABASE";
const ROWS: i64 = 50;

#[test]
#[ignore = "another test starts it"]
fn writer() {
    let path = std::env::var(DATABASE).unwrap();
    let careful = std::env::var(CAREFULNESS).unwrap();
    let connection = Connection::open(&path).unwrap();
    let pragmas = format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = {careful};");
    connection.execute_batch(&pragmas).unwrap();
    for n in 0..ROWS {
        connection
            .execute("INSERT INTO t VALUES (?1)", [n])
            .unwrap();
    }
    std::fs::write(format!("{path}.done"), "").unwrap();
    loop {
        std::thread::park();
    }
}

fn kill_when_done(mut child: Child, path: &Path) {
    let done = path.with_extension("db.done");
    eventually(SOON, || done.exists());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Returns how many committed rows outlast a loss of power.
fn rows_left(careful: &str) -> i64 {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER);")
        .unwrap();
    let mut power = Power::over(dir.path());
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "power::writer"])
        .envs(power.env())
        .env(DATABASE, &path)
        .env(CAREFULNESS, careful)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    kill_when_done(child, &path);
    let connection = Connection::open(&path).unwrap();
    let count = |connection: &Connection| {
        let count = "SELECT count(*) FROM t";
        connection.query_row(count, [], |row| row.get(0)).unwrap()
    };
    let before: i64 = count(&connection);
    assert_eq!(before, ROWS, "a killed process alone loses nothing");
    drop(connection);
    power.lose(Loss::All);
    let left = count(&Connection::open(&path).unwrap());
    assert_eq!(quick_check(&path), "ok");
    left
}

#[test]
fn what_was_not_synced_is_lost_and_what_was_is_not() {
    assert_eq!(rows_left("OFF"), 0);
    assert_eq!(rows_left("FULL"), ROWS);
}
