//! What the queue promises, held against what clients were told.
//!
//! An answer that was there before another request began bounds what that request may see: jobs only move on,
//! attempts only grow, and so does the index that reads are made at.

use std::collections::{BTreeSet, HashMap};

use skyclaw::protocol::{JobId, JobStatus};

use super::client::LEASE;
use super::history::{Given, History, Moment, Op, Told, What};
use super::wire::Seen;

/// How far a job has come: its attempts, and where it stands in the last one. Only grows.
type Far = (u16, u8);

const LEASED: u8 = 0;
const WAITS: u8 = 1;
const ENDED: u8 = 2;

fn far(seen: &Seen) -> Far {
    let stands = match seen.status {
        JobStatus::Leased => LEASED,
        JobStatus::Queued => WAITS,
        JobStatus::Completed | JobStatus::Failed => ENDED,
    };
    (seen.attempts, stands)
}

/// Checks `history`; `last` is how every job stood when all was over.
///
/// # Errors
/// With the first promise that was broken.
pub fn check(history: &History, last: &[Seen]) -> Result<(), String> {
    let last: HashMap<JobId, &Seen> = last.iter().map(|seen| (seen.job, seen)).collect();
    nothing_is_missing(history, &last)?;
    leases_exclude_each_other(history)?;
    attempts_grow(history)?;
    claims_repeat(history)?;
    results_stay(history, &last)?;
    reads_move_on(history, &last)
}

fn nothing_is_missing(history: &History, last: &HashMap<JobId, &Seen>) -> Result<(), String> {
    for op in &history.ops {
        let jobs: &[JobId] = match &op.what {
            What::Submitted(jobs) => jobs,
            What::Reported(given, ..) | What::Renewed(given) => &[given.job],
            What::Cancelled(job) => &[*job],
            What::Claimed(..) | What::Named(..) | What::Read { .. } => &[],
        };
        if let Some(job) = jobs.iter().find(|job| !last.contains_key(*job)) {
            return Err(format!("{job} is missing, acknowledged by {op:?}"));
        }
    }
    Ok(())
}

fn leases_exclude_each_other(history: &History) -> Result<(), String> {
    let mut holds: HashMap<JobId, Vec<_>> = HashMap::new();
    for hold in history.holds.iter().filter(|hold| hold.from < hold.until) {
        holds.entry(hold.given.job).or_default().push(hold);
    }
    for mut holds in holds.into_values() {
        holds.sort_by_key(|hold| hold.from);
        for pair in holds.windows(2) {
            if pair[1].from < pair[0].until {
                return Err(format!("two leases at one time: {pair:?}"));
            }
        }
    }
    Ok(())
}

/// Answers that gave or confirmed a lease: no number for two, none after a greater one.
fn attempts_grow(history: &History) -> Result<(), String> {
    let mut tokens = HashMap::new();
    for lease in history.ops.iter().flat_map(|op| leases(&op.what)) {
        let token = *tokens
            .entry((lease.job, lease.attempt))
            .or_insert(lease.token);
        if token != lease.token {
            return Err(format!("one attempt, two tokens: {lease:?}"));
        }
    }
    let mut known: HashMap<JobId, u16> = HashMap::new();
    in_order(history, |begins, op| {
        for lease in leases(&op.what) {
            let attempt = known.entry(lease.job).or_default();
            // A claim that is repeated names what it once gave, whatever became of it.
            let is_new = !matches!(op.what, What::Claimed(..));
            if begins && is_new && lease.attempt < *attempt {
                return Err(format!(
                    "an old attempt goes on after number {attempt}: {op:?}"
                ));
            }
            if !begins {
                *attempt = (*attempt).max(lease.attempt);
            }
        }
        Ok(())
    })
}

fn leases(what: &What) -> Vec<Given> {
    match what {
        What::Claimed(_, all) | What::Named(_, all) => all.clone(),
        What::Renewed(one) => vec![*one],
        What::Submitted(_) | What::Reported(..) | What::Cancelled(_) | What::Read { .. } => {
            Vec::new()
        }
    }
}

fn claims_repeat(history: &History) -> Result<(), String> {
    let (mut answers, mut owners) = (HashMap::new(), HashMap::new());
    for op in &history.ops {
        let (key, given, lasts) = match &op.what {
            What::Claimed(key, given) => (key, given, true),
            // What it gave may have run out since.
            What::Named(key, given) => (key, given, op.end - op.begin < LEASE.as_micros() as u64),
            _ => continue,
        };
        let all: BTreeSet<_> = given.iter().map(|one| (one.job, one.attempt)).collect();
        let first = answers.entry(key).or_insert_with(|| all.clone());
        let had_nothing = first.is_empty() && matches!(op.what, What::Named(..));
        if *first != all && lasts && !had_nothing {
            return Err(format!(
                "asked again, {key} got {given:?} instead of {first:?}"
            ));
        }
        *first = all;
        for lease in given {
            let owner = owners.entry((lease.job, lease.attempt)).or_insert(key);
            if *owner != key {
                return Err(format!("{owner} and {key} both got {lease:?}"));
            }
        }
    }
    Ok(())
}

fn results_stay(history: &History, last: &HashMap<JobId, &Seen>) -> Result<(), String> {
    for op in &history.ops {
        match &op.what {
            What::Reported(given, mark, told @ (Told::Completed | Told::Failed)) => {
                let Some(end) = last.get(&given.job) else {
                    continue;
                };
                let status = match told {
                    Told::Completed => JobStatus::Completed,
                    _ => JobStatus::Failed,
                };
                let of_this = end.attempts == given.attempt;
                if end.status != status || (of_this && end.mark.as_ref() != Some(mark)) {
                    return Err(format!("{op:?}, but in the end {end:?}"));
                }
            }
            What::Cancelled(job) => {
                let ended = last
                    .get(job)
                    .is_none_or(|end| end.status == JobStatus::Failed);
                if !ended {
                    return Err(format!("{op:?}, but in the end {:?}", last.get(job)));
                }
            }
            What::Read {
                job,
                seen: Some(seen),
                ..
            } if far(seen).1 == ENDED && last.get(job).is_some_and(|end| *end != seen) => {
                return Err(format!("{seen:?} became {:?}", last.get(job)));
            }
            _ => {}
        }
    }
    for (job, end) in last {
        let Some(mark) = &end.mark else { continue };
        let mut sent = history.sent.iter();
        if end.status == JobStatus::Completed
            && !sent
                .any(|(given, of)| of == mark && given.job == *job && given.attempt == end.attempts)
        {
            return Err(format!("nobody reported {end:?}"));
        }
    }
    Ok(())
}

fn reads_move_on(history: &History, last: &HashMap<JobId, &Seen>) -> Result<(), String> {
    let mut bounds: HashMap<JobId, Far> = HashMap::new();
    let mut index = 0;
    // What was known for sure when each read began.
    let mut open = HashMap::new();
    in_order(history, |begins, op| {
        if let What::Read { job, seen, applied } = &op.what {
            let read = std::ptr::from_ref(op);
            if begins {
                open.insert(read, (bounds.get(job).copied(), index));
                return Ok(());
            }
            let (bound, was) = open.remove(&read).unwrap_or_default();
            if *applied < was {
                return Err(format!(
                    "read at index {applied} after {was} was read: {op:?}"
                ));
            }
            if seen.as_ref().map(far) < bound {
                return Err(format!("a read went back from {bound:?}: {op:?}"));
            }
            index = index.max(*applied);
        }
        if !begins {
            for (job, far) in shows(&op.what) {
                let bound = bounds.entry(job).or_default();
                *bound = far.max(*bound);
            }
        }
        Ok(())
    })?;
    for (job, bound) in bounds {
        let end = last.get(&job);
        if end.is_none_or(|end| far(end) < bound) {
            return Err(format!("{job} was at {bound:?} and ends at {end:?}"));
        }
    }
    Ok(())
}

/// How far jobs were for sure when this was answered.
fn shows(what: &What) -> Vec<(JobId, Far)> {
    match what {
        What::Submitted(jobs) => jobs.iter().map(|job| (*job, (0, WAITS))).collect(),
        What::Claimed(_, all) | What::Named(_, all) => {
            let far = |one: &Given| (one.job, (one.attempt, LEASED));
            all.iter().map(far).collect()
        }
        What::Renewed(one) => vec![(one.job, (one.attempt, LEASED))],
        What::Cancelled(job) => vec![(*job, (0, ENDED))],
        What::Reported(one, _, Told::Completed | Told::Failed) => {
            vec![(one.job, (one.attempt, ENDED))]
        }
        What::Reported(_, _, Told::Again | Told::Lost) => Vec::new(),
        What::Read { job, seen, .. } => {
            let far = |seen: &Seen| (*job, far(seen));
            seen.iter().map(far).collect()
        }
    }
}

/// Calls `at` for the beginning and for the end of each request, in the order of time. Where both fall on one
/// moment, what begins comes first: the two overlapped.
fn in_order(
    history: &History,
    mut at: impl FnMut(bool, &Op) -> Result<(), String>,
) -> Result<(), String> {
    let mut moments: Vec<(Moment, bool, &Op)> = Vec::new();
    for op in &history.ops {
        moments.push((op.begin, false, op));
        moments.push((op.end, true, op));
    }
    moments.sort_by_key(|(moment, ends, _)| (*moment, *ends));
    let mut moments = moments.into_iter();
    moments.try_for_each(|(_, ends, op)| at(!ends, op))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
