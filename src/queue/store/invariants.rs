//! What must be true of the file after every command, whatever the commands were.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;

use crate::protocol::api::Phase;
use crate::queue::Error;
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
fn services(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut ids = BTreeSet::new();
    let mut broken = Vec::new();
    for service in super::services::all(connection)? {
        let mut must = |holds: bool, rule: &str| {
            if !holds {
                broken.push(format!("{rule}: {service:?}"));
            }
        };
        must(
            !service::is_gone(&service),
            "a removed service is gone with its last assignment",
        );
        must(service.replicas > 0, "a service has replicas");
        for one in &service.assignments {
            let is_new = one.id.is_empty() || ids.insert(one.id.clone());
            must(is_new, "an assignment is named once");
            must(
                one.id.is_empty() == one.phase.is_none(),
                "an assignment with an id has a phase",
            );
            let Some(phase) = one.phase else { continue };
            must(one.status == phase.status(), "words fit the phase");
            must(
                one.endpoint.is_none() || phase == Phase::Ready,
                "only what is ready has an endpoint",
            );
            let mut kept = service.kept.forms.iter();
            let known = one.generation == service.generation
                || kept.any(|form| form.generation == one.generation);
            must(known || phase.is_over(), "the form that runs is known");
        }
    }
    Ok(broken)
}

/// Looks the whole file over and returns what does not fit together. Slow: for tests and simulations.
///
/// # Errors
/// When the file cannot be read.
pub fn what_is_broken(path: &Path) -> Result<Vec<String>, Error> {
    let connection = super::open::open_reader(path)?;
    look(&connection).map_err(|source| super::fault::error("look over", path, source))
}

fn look(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut broken = Vec::new();
    for (rule, sql) in BROKEN {
        if connection.prepare(sql)?.exists([])? {
            broken.push((*rule).to_owned());
        }
    }
    broken.extend(services(connection)?);
    let found: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if found != "ok" {
        broken.push(found);
    }
    Ok(broken)
}

/// Looks the whole file over.
///
/// # Panics
/// When something does not fit together.
#[cfg(test)]
pub fn check(path: &Path) {
    assert_eq!(what_is_broken(path).unwrap(), Vec::<String>::new());
}
