//! The database of a coordinator: copied while it serves, put back, cleaned, taken over from the original.

use serde_json::json;

use crate::common::Running;
use crate::common::coordinator::Plan;
use crate::place::{Place, SOON, bare};

#[test]
fn a_backup_of_a_serving_coordinator_brings_its_jobs_back() {
    let place = Place::quiet();
    let id = place.says(&["enqueue-shell", "true"]);
    let made = place.says(&["coordinator", "backup", "copy.db", "--db", "coordinator.db"]);
    assert!(made.starts_with("copy.db ("), "{made}");
    place.says(&["enqueue-shell", "true"]);
    let target = place.path().join("coordinator.db");
    let full = place
        .run(&[
            "coordinator",
            "restore",
            "copy.db",
            "--db",
            target.to_str().unwrap(),
        ])
        .expect_code(2);
    assert!(full.err().contains("something in"), "{full}");
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = place.path().join("copy.db");
    let mut command = bare(
        elsewhere.path(),
        &["coordinator", "restore", copy.to_str().unwrap(), "--json"],
    );
    command.env("SKYCLAW_DB_PATH", elsewhere.path().join("coordinator.db"));
    let restored = Running::start(&mut command, None).wait(SOON).expect_code(0);
    assert_eq!(restored.json()["schema"], 1);
    let again = Plan::new(elsewhere.path()).start();
    let jobs = again.get("/v1/jobs")["jobs"].clone();
    assert_eq!(jobs.as_array().unwrap().len(), 1);
    assert_eq!(jobs[0]["id"], id);
}

#[test]
fn old_jobs_go_when_told_and_only_then() {
    let place = Place::quiet();
    let ids: Vec<String> = (0..3)
        .map(|_| place.says(&["enqueue-shell", "true"]))
        .collect();
    place.says(&["job", "cancel", &ids[0], &ids[1]]);
    let gc = |more: &[&str]| {
        let args = [
            "coordinator",
            "gc",
            "--json",
            "--db",
            "coordinator.db",
            "--retention",
            "7d,1",
        ];
        place.run(&[&args[..], more].concat()).expect_code(0).json()
    };
    assert_eq!(gc(&["--dry-run"])["jobs"], 1);
    assert_eq!(gc(&["--dry-run"])["jobs"], 1, "nothing was changed");
    assert_eq!(gc(&[])["jobs"], 1);
    assert_eq!(gc(&["--dry-run"])["jobs"], 0);
    let left = place.run(&["job", "list", "--json"]).expect_code(0).json();
    assert_eq!(left["jobs"].as_array().unwrap().len(), 2);
    place
        .run(&["coordinator", "gc", "--db", "nothing.db"])
        .expect_code(2);
    assert!(!place.path().join("nothing.db").exists());
}

#[test]
fn a_database_of_the_original_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("coordinator.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE hosts (id TEXT PRIMARY KEY, json TEXT NOT NULL);
         CREATE TABLE jobs (id TEXT PRIMARY KEY, created_at TEXT NOT NULL, json TEXT NOT NULL);
         CREATE TABLE services (id TEXT PRIMARY KEY, created_at TEXT NOT NULL, json TEXT NOT NULL);
         CREATE TABLE idempotency (route TEXT, key TEXT, json TEXT);",
    )
    .unwrap();
    let id = "job_3f0c1f5e-9d3b-4c58-8b6a-0f3f2f5f6a7b";
    let job = json!({"id": id, "status": "leased", "attempts": 1, "assignedHostId": "lab-1",
        "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
        "updatedBy": "n", "version": 2, "requirement": {"requiredCapabilities": ["shell"]},
        "payload": {"kind": "shell", "command": "sh", "args": ["-c", "exit 4"]}});
    old.execute(
        "INSERT INTO jobs VALUES (?1, '', ?2)",
        [id, &job.to_string()],
    )
    .unwrap();
    drop(old);
    let mut place = Place::over(dir);
    place.add_host("lab");
    place.run(&["job", "wait", id]).expect_code(4);
    let job = &place.coordinator.get(&format!("/v1/jobs/{id}"))["job"];
    assert_eq!(
        (&job["status"], &job["attempts"]),
        (&"failed".into(), &2.into())
    );
    assert!(place.path().join("coordinator.db.original-backup").exists());
}
