//! Finds work for hosts.
//!
//! Waiting jobs lie in the index as one row of jobs per (pin, need), each in queue order. A claim
//! looks at the heads of the rows that its host may take from, and takes the best of them. So its
//! cost grows with the number of different needs, never with the number of jobs.

use rusqlite::{Row, params};

use super::row::{self, Stored, columns, payload};
use super::tx::Tx;
use super::{hosts, needs};
use crate::protocol::{GroupId, LeaseToken, Payload};
use crate::queue::command::{ClaimMark, ClaimRequest, Claimant, Claimed};
use crate::queue::domain::lease::Proof;
use crate::queue::domain::{Event, Job, State};
use crate::support::clock::Timestamp;

/// How much of what is due one claim sees to before it looks for work.
const DUE_LIMIT: u32 = 500;

/// A job that a host may take.
struct Candidate {
    stored: Stored,
    priority: i8,
    timeout_ms: Option<u64>,
    payload: String,
    created_at: Timestamp,
    submitted_by: Option<String>,
}

/// Gives leases to the claimants, in their order. Who has a mark, and holds leases by it, gets those again and no others.
pub fn claim(
    tx: &mut Tx<'_>,
    now: Timestamp,
    request: &ClaimRequest,
    marks: &[Option<ClaimMark>],
    tokens: &[LeaseToken],
) -> rusqlite::Result<Vec<Claimed>> {
    super::due::expire(tx, now, DUE_LIMIT)?;
    let is_paused = tx.paused()?;
    let mut tokens = tokens.iter().copied();
    let mut given = Vec::new();
    for (at, claimant) in request.claimants.iter().enumerate() {
        let mark = marks.get(at).copied().flatten();
        if let Some(mark) = mark {
            let again = again(tx, now, claimant, mark)?;
            if !again.is_empty() {
                given.extend(again);
                continue;
            }
        }
        if is_paused {
            continue;
        }
        for candidate in candidates(tx, now, request.group, claimant)? {
            let Some(token) = tokens.next() else {
                return Ok(given);
            };
            let token = mark.map_or(token, |mark| token.marked(*mark.as_bytes()));
            given.extend(take(tx, now, request, claimant, candidate, token)?);
        }
    }
    Ok(given)
}

fn take(
    tx: &mut Tx<'_>,
    now: Timestamp,
    request: &ClaimRequest,
    claimant: &Claimant,
    candidate: Candidate,
    token: LeaseToken,
) -> rusqlite::Result<Option<Claimed>> {
    let stored = &candidate.stored;
    let event = Event::Claim {
        host: claimant.host.clone(),
        token,
        lease_for: request.lease_for,
    };
    let Ok(job) = tx.step(stored, event, now, None)? else {
        return Ok(None);
    };
    Ok(given(candidate, job))
}

/// Returns the leases that an earlier claim with this mark gave, each with a whole lease time from now.
fn again(
    tx: &mut Tx<'_>,
    now: Timestamp,
    claimant: &Claimant,
    mark: ClaimMark,
) -> rusqlite::Result<Vec<Claimed>> {
    let held = tx
        .connection
        .prepare_cached(concat!(
            "SELECT ",
            columns!(),
            ", priority, timeout_ms, ",
            payload!(),
            ", created_at, submitted_by FROM job INDEXED BY job_holder \
             WHERE state = 2 AND host = ?1 AND substr(token, 1, 8) = ?2 ORDER BY seq"
        ))?
        .query_map(params![claimant.host.as_str(), mark.as_bytes()], candidate)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut found = Vec::with_capacity(held.len());
    for one in held {
        let State::Leased(lease) = &one.stored.job.state else {
            continue;
        };
        let event = Event::Renew(Proof::Token(one.stored.job.attempt, lease.token));
        if let Ok(job) = tx.step(&one.stored, event, now, None)? {
            found.extend(given(one, job));
        }
    }
    Ok(found)
}

/// Returns what a host is told of the lease that it holds on a job.
fn given(candidate: Candidate, job: Job) -> Option<Claimed> {
    let stored = &candidate.stored;
    let State::Leased(lease) = job.state else {
        return None;
    };
    Some(Claimed {
        job: stored.id,
        host: lease.host,
        attempt: job.attempt,
        token: lease.token,
        expires_at: lease.expires_at,
        payload: Payload::stored(candidate.payload),
        requirement: needs::read(&stored.pin, &stored.need),
        group: stored.group,
        timeout_ms: candidate.timeout_ms,
        lease_for: lease.lease_for,
        created_at: candidate.created_at,
        submitted_by: candidate.submitted_by,
        priority: candidate.priority,
        last_try: job.lost + 1 >= job.limits.max_attempts,
    })
}

/// Returns the best jobs for `claimant`, at most as many as it takes.
fn candidates(
    tx: &mut Tx<'_>,
    now: Timestamp,
    group: Option<GroupId>,
    claimant: &Claimant,
) -> rusqlite::Result<Vec<Candidate>> {
    let max = match claimant.limit {
        None => claimant.max,
        Some(limit) => {
            let held = hosts::count_held(tx.connection, &claimant.host)?;
            claimant.max.min(limit.saturating_sub(held))
        }
    };
    if max == 0 {
        return Ok(Vec::new());
    }
    let own = std::iter::once(&claimant.host).chain(&claimant.names);
    let names = own.map(crate::protocol::HostId::as_str);
    let connection = tx.connection;
    let mut found = Vec::new();
    for pin in names.clone().chain([""]) {
        let fits = |need: &&needs::Need| {
            need.requirement
                .is_met_by(names.clone(), &claimant.capabilities, &claimant.labels)
        };
        let open = tx.needs.of(connection, group, pin)?;
        let open: Vec<String> = open
            .iter()
            .filter(fits)
            .map(|need| need.text.clone())
            .collect();
        for need in open {
            heads(tx, now, group, (claimant, max), (pin, &need), &mut found)?;
        }
    }
    // Stable and total: `seq` is unique, so every replica takes the same jobs.
    found.sort_by_key(|one| (-i16::from(one.priority), one.stored.seq));
    // A host may go by the same name twice, but gets a job once.
    found.dedup_by_key(|one| one.stored.seq);
    found.truncate(usize::from(max));
    Ok(found)
}

fn heads(
    tx: &Tx<'_>,
    now: Timestamp,
    group: Option<GroupId>,
    (claimant, max): (&Claimant, u16),
    (pin, need): (&str, &str),
    found: &mut Vec<Candidate>,
) -> rusqlite::Result<()> {
    let host = claimant.host.as_str();
    let now = now.as_millis();
    match group {
        None => found.extend(
            tx.connection
                .prepare_cached(concat!(
                    "SELECT ",
                    columns!(),
                    ", priority, timeout_ms, ",
                    payload!(),
                    ", created_at, submitted_by FROM job INDEXED BY job_queue \
                     WHERE state = 0 AND pin = ?1 AND need = ?2 \
                     AND (avoid_host IS NULL OR avoid_host <> ?3 OR avoid_until <= ?4) \
                     ORDER BY priority DESC, seq LIMIT ?5"
                ))?
                .query_map(params![pin, need, host, now, max], candidate)?
                .collect::<rusqlite::Result<Vec<_>>>()?,
        ),
        Some(group) => found.extend(
            tx.connection
                .prepare_cached(concat!(
                    "SELECT ",
                    columns!(),
                    ", priority, timeout_ms, ",
                    payload!(),
                    ", created_at, submitted_by FROM job INDEXED BY job_group_queue \
                     WHERE grp = ?6 AND state = 0 AND pin = ?1 AND need = ?2 \
                     AND (avoid_host IS NULL OR avoid_host <> ?3 OR avoid_until <= ?4) \
                     ORDER BY priority DESC, seq LIMIT ?5"
                ))?
                .query_map(
                    params![pin, need, host, now, max, group.as_bytes()],
                    candidate,
                )?
                .collect::<rusqlite::Result<Vec<_>>>()?,
        ),
    }
    Ok(())
}

fn candidate(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    Ok(Candidate {
        stored: row::read(row)?,
        priority: row.get(26)?,
        timeout_ms: row.get(27)?,
        payload: row.get(28)?,
        created_at: row::time(row, 29)?.unwrap_or_default(),
        submitted_by: row.get(30)?,
    })
}
