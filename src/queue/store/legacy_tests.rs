//! A database as the original leaves it, made by its own statements.

use serde_json::json;

use super::super::open::open;
use super::super::{JobFilter, Reader, check_invariants};
use super::*;
use crate::protocol::JobStatus;

const OLD_SCHEMA: &str = "PRAGMA journal_mode = WAL;
    CREATE TABLE hosts (id TEXT PRIMARY KEY, json TEXT NOT NULL);
    CREATE TABLE jobs (id TEXT PRIMARY KEY, created_at TEXT NOT NULL, json TEXT NOT NULL);
    CREATE TABLE services (id TEXT PRIMARY KEY, created_at TEXT NOT NULL, json TEXT NOT NULL);
    CREATE TABLE idempotency (route TEXT, key TEXT, request_hash TEXT, status_code INTEGER,
        response_json TEXT, created_at TEXT, expires_at TEXT, PRIMARY KEY (route, key));
    INSERT INTO idempotency VALUES ('/v1/jobs', 'k', 'h', 200, '{}', '', '');";

fn id(number: u8) -> String {
    format!("job_00000000-0000-4000-8000-0000000000{number:02}")
}

fn job(number: u8, status: &str, attempts: u32, more: serde_json::Value) -> serde_json::Value {
    let mut job = json!({
        "id": id(number), "status": status, "attempts": attempts, "version": 4, "updatedBy": "node_1",
        "createdAt": format!("2026-01-01T00:00:{number:02}.000Z"),
        "updatedAt": "2026-01-02T00:00:00.000Z",
        "requirement": {"requiredCapabilities": ["shell"]},
        "payload": {"kind": "shell", "command": "bash", "args": ["-c", "uptime"], "timeoutMs": 20000},
        "unheard-of": true,
    });
    let map = job.as_object_mut().unwrap();
    map.extend(more.as_object().unwrap().clone());
    job
}

fn fixture(path: &Path) {
    let old = Connection::open(path).unwrap();
    old.execute_batch(OLD_SCHEMA).unwrap();
    let result = |code: i32| {
        json!({"finishedAt": "2026-01-02T00:00:00.000Z", "durationMs": 12, "exitCode": code,
               "stdout": "up\n", "stderr": "é"})
    };
    let jobs = [
        job(2, "queued", 0, json!({"submittedBy": "public:site"})),
        job(
            1,
            "leased",
            1,
            json!({"assignedHostId": "lab-1", "leaseExpiresAt": "2026-01-02T00:01:00.000Z"}),
        ),
        job(
            3,
            "completed",
            3,
            json!({"assignedHostId": "lab-1", "result": result(0)}),
        ),
        job(
            4,
            "failed",
            1,
            json!({"assignedHostId": "lab-1", "result": result(1), "error": "timed out after 5ms"}),
        ),
        job(
            5,
            "failed",
            1,
            json!({"result": result(7), "payload": {"kind": "openclaw-run", "args": ["x".repeat(3000)]}}),
        ),
        job(6, "queued", 2, json!({})),
    ];
    for job in &jobs {
        old.execute(
            "INSERT INTO jobs VALUES (?1, ?2, ?3)",
            params![
                job["id"].as_str(),
                job["createdAt"].as_str(),
                job.to_string()
            ],
        )
        .unwrap();
    }
    old.execute_batch("INSERT INTO jobs VALUES ('broken', '', '{\"id\": 7}')")
        .unwrap();
    let host = json!({"id": "lab-1", "name": "Lab", "capabilities": ["shell"], "maxParallel": 2,
        "activeLeases": 1, "lastSeenAt": "2026-01-02T00:00:00.000Z",
        "registeredAt": "2026-01-01T00:00:00.000Z", "updatedBy": "node_1", "version": 9});
    old.execute("INSERT INTO hosts VALUES ('lab-1', ?1)", [host.to_string()])
        .unwrap();
    let service = json!({"id": "svc_1", "name": "api", "command": "node", "args": ["s.js"], "replicas": 1,
        "requiredCapabilities": ["service-host"], "status": "running",
        "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
        "updatedBy": "node_1", "version": 2, "assignments": [{"hostId": "lab-1", "status": "running",
        "updatedAt": "2026-01-01T00:00:00.000Z", "endpoint": "http://127.0.0.1:3100"}]});
    old.execute(
        "INSERT INTO services VALUES ('svc_1', '', ?1)",
        [service.to_string()],
    )
    .unwrap();
}

#[test]
fn a_database_of_the_original_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("coordinator.db");
    fixture(&path);
    let opened = open(&path, true).unwrap();
    check_invariants(&path);
    let reader = Reader::open(&path).unwrap();
    let filter = JobFilter {
        oldest_first: true,
        ..JobFilter::default()
    };
    let page = reader.jobs(&filter, None, 100).unwrap();
    let found: Vec<_> = page
        .items
        .iter()
        .map(|view| {
            let job = &view.job;
            (
                job.id.to_string(),
                job.status,
                job.reason,
                job.attempts.get(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (id(1), JobStatus::Queued, None, 1),
            (id(2), JobStatus::Queued, None, 0),
            (id(3), JobStatus::Completed, None, 3),
            (id(4), JobStatus::Failed, Some(Reason::Timeout), 1),
            (id(5), JobStatus::Failed, Some(Reason::Exit), 1),
            (id(6), JobStatus::Queued, None, 2),
        ]
    );
    let view = |number: u8| reader.job(id(number).parse().unwrap()).unwrap().unwrap();
    assert_eq!(view(2).job.submitted_by.as_deref(), Some("public:site"));
    assert_eq!(view(2).job.timeout_ms, Some(20_000));
    assert_eq!(view(2).job.requirement.required_capabilities, ["shell"]);
    let last = view(4).last.unwrap();
    let result = last.result.unwrap();
    assert_eq!((last.host.as_str(), result.exit_code), ("lab-1", Some(1)));
    assert_eq!(result.error.as_deref(), Some("timed out after 5ms"));
    assert_eq!(result.stderr.bytes, "é".as_bytes());
    assert!(view(5).job.payload.as_str().contains("xxx"));
    let services = reader.services().unwrap();
    let service = &services[0];
    assert_eq!((service.id.as_str(), service.generation), ("svc_1", 0));
    let one = &service.assignments[0];
    assert_eq!((one.host_id.as_str(), one.phase), ("lab-1", None));
    let host: (String, i64) = opened
        .connection
        .query_row("SELECT name, max_parallel FROM host", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(host, ("Lab".to_owned(), 2));
    assert!(!is_one(&opened.connection).unwrap());
    let copy = Connection::open(dir.path().join("coordinator.db.original-backup")).unwrap();
    let rows: i64 = copy
        .query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 7, "the one that cannot be read is in the copy");
}

#[test]
fn it_is_taken_over_once_and_an_earlier_copy_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("coordinator.db");
    std::fs::write(dir.path().join("coordinator.db.original-backup"), "mine").unwrap();
    fixture(&path);
    drop(open(&path, false).unwrap());
    drop(open(&path, false).unwrap());
    let mut names: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("original"))
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "coordinator.db.original-backup",
            "coordinator.db.original-backup-2"
        ]
    );
    assert_eq!(
        std::fs::read(dir.path().join("coordinator.db.original-backup")).unwrap(),
        b"mine"
    );
}
