//! What must be true of the file after every command, whatever the commands were.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;

use crate::protocol::api::Phase;
use crate::queue::domain::service;

/// Each finds rows that must not exist, and is named after what would be wrong with them.
const BROKEN: &[(&str, &str)] = &[
    (
        "a lease is whole or not there, and only a leased job has one",
        "SELECT id FROM job WHERE (state = 2) <> (host IS NOT NULL AND token IS NOT NULL AND \
         since IS NOT NULL AND lease_ms IS NOT NULL) OR (state <> 2 AND \
         coalesce(host, token, since, lease_ms) IS NOT NULL)",
    ),
    (
        "a leased job has an alarm and an attempt",
        "SELECT id FROM job WHERE state = 2 AND (due_at IS NULL OR attempt = 0)",
    ),
    (
        "a job that may start waits for nothing, and its alarm is its latest start or the end of its avoiding a host",
        "SELECT id FROM job WHERE state = 0 AND (not_before IS NOT NULL OR due_at IS NOT \
         CASE WHEN avoid_until IS NULL THEN start_by \
         ELSE min(avoid_until, coalesce(start_by, avoid_until)) END)",
    ),
    (
        "a delayed job has its alarm when the wait ends or its start is missed",
        "SELECT id FROM job WHERE state = 1 AND (not_before IS NULL OR \
         due_at IS NOT min(not_before, coalesce(start_by, not_before)))",
    ),
    (
        "ended jobs have an end, nobody else has, and they have no alarm",
        "SELECT id FROM job WHERE (state >= 3) <> (ended_at IS NOT NULL) OR \
         (state >= 3 AND due_at IS NOT NULL)",
    ),
    (
        "failed jobs have a reason and nobody else has",
        "SELECT id FROM job WHERE (state = 4) <> (reason IS NOT NULL)",
    ),
    (
        "every number but that of the running attempt is in the history, once",
        "SELECT id FROM job WHERE attempt - (state = 2) <> \
         (SELECT count(*) FROM attempt WHERE key >> 16 = job.seq) OR attempt - (state = 2) <> \
         (SELECT coalesce(max(key & 65535), 0) FROM attempt WHERE key >> 16 = job.seq)",
    ),
    (
        "losses and failures are counted",
        "SELECT id FROM job WHERE lost <> (SELECT count(*) FROM attempt \
         WHERE key >> 16 = job.seq AND reason = 5) OR \
         failed <> (SELECT count(*) FROM attempt WHERE key >> 16 = job.seq AND reason = 0)",
    ),
    (
        "a job is completed if and only if its last attempt went well, and no earlier one did",
        "SELECT id FROM job WHERE (state = 3) <> EXISTS \
         (SELECT 1 FROM attempt WHERE key = (job.seq << 16 | job.attempt) AND ending = 0) OR EXISTS \
         (SELECT 1 FROM attempt WHERE key >> 16 = job.seq AND key & 65535 < job.attempt AND ending = 0)",
    ),
    (
        "a job has one payload",
        "SELECT id FROM job WHERE (payload IS NULL) <> EXISTS \
         (SELECT 1 FROM long_payload WHERE long_payload.job = job.seq)",
    ),
    (
        "a pinned job avoids nobody",
        "SELECT id FROM job WHERE pin <> '' AND avoid_host IS NOT NULL",
    ),
    (
        "nothing is left of jobs that are gone",
        "SELECT key FROM attempt WHERE key >> 16 NOT IN (SELECT seq FROM job) UNION ALL \
         SELECT key FROM stray WHERE key >> 16 NOT IN (SELECT seq FROM job) UNION ALL \
         SELECT job FROM long_payload WHERE job NOT IN (SELECT seq FROM job) UNION ALL \
         SELECT job FROM log WHERE job NOT IN (SELECT seq FROM job) UNION ALL \
         SELECT job FROM log_end WHERE job NOT IN (SELECT seq FROM job)",
    ),
    (
        "what is kept of a job's output is counted",
        "SELECT job FROM log_end WHERE kept <> \
         (SELECT coalesce(sum(length(bytes)), 0) FROM log WHERE log.job = log_end.job)",
    ),
    (
        "no job is of a group that is gone",
        "SELECT id FROM job WHERE grp IS NOT NULL AND grp NOT IN (SELECT id FROM grp)",
    ),
];

/// Looks at each service: an assignment is named once, its words fit its phase, and what its host runs is known.
fn services(connection: &Connection) {
    let mut ids = BTreeSet::new();
    for service in super::services::all(connection).unwrap() {
        assert!(!service::is_gone(&service), "removed, and nothing is left");
        assert!(service.replicas > 0, "{service:?}");
        for one in &service.assignments {
            assert!(one.id.is_empty() || ids.insert(one.id.clone()), "twice");
            assert_eq!(one.id.is_empty(), one.phase.is_none(), "{one:?}");
            let Some(phase) = one.phase else { continue };
            assert_eq!(one.status, phase.status(), "{one:?}");
            assert!(one.endpoint.is_none() || phase == Phase::Ready, "{one:?}");
            let mut kept = service.kept.forms.iter();
            let known = one.generation == service.generation
                || kept.any(|form| form.generation == one.generation);
            assert!(known || phase.is_over(), "{service:?}");
        }
    }
}

/// Looks the whole file over.
///
/// # Panics
/// When something does not fit together.
pub fn check(path: &Path) {
    let connection = Connection::open(path).unwrap();
    for (rule, sql) in BROKEN {
        let broken = connection.prepare(sql).unwrap().exists([]).unwrap();
        assert!(!broken, "broken: {rule}");
    }
    services(&connection);
    let found: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(found, "ok");
}
