//! Applies a command inside a write transaction. Deterministic: it asks no clock and draws no chance.
//!
//! Everything that can be refused is refused before the first write of a command. What can fail
//! after that is only the file itself, and then the whole transaction goes.

use std::time::Duration;

use rusqlite::params;

use super::row;
use super::tx::Tx;
use super::{attempts, claim, due, hosts, keys, logs, prune, retry, services, submit, take_over};
use crate::protocol::JobId;
use crate::queue::command::{
    Cancel, Cancelled, Command, Completion, Envelope, LeaseProof, LeaseRef, Outcome, Refusal,
    Renewed, Report, Verdict,
};
use crate::queue::domain::{Event, Job, State};
use crate::support::clock::Timestamp;

/// What came of a command, and whether it was only remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What came of it.
    pub outcome: Outcome,
    /// The key was known: this is the answer of the first time and nothing was done now.
    pub replayed: bool,
}

/// Applies `envelope`.
///
/// # Errors
/// When the file fails or the command contradicts it (an id that is taken); nothing of the
/// command may then be kept.
pub fn apply(tx: &mut Tx<'_>, envelope: &Envelope) -> rusqlite::Result<Applied> {
    let Some(key) = &envelope.idempotency else {
        return Ok(Applied {
            outcome: run(tx, &envelope.command)?,
            replayed: false,
        });
    };
    let now = envelope.command.time();
    match keys::look_up(tx.connection, key, now)? {
        keys::Found::Same(outcome) => Ok(Applied {
            outcome,
            replayed: true,
        }),
        keys::Found::Other => Ok(Applied {
            outcome: Outcome::Refused(Refusal::KeyConflict(key.key.clone())),
            replayed: false,
        }),
        keys::Found::Nothing => {
            let outcome = run(tx, &envelope.command)?;
            keys::remember(tx.connection, key, &outcome)?;
            Ok(Applied {
                outcome,
                replayed: false,
            })
        }
    }
}

fn run(tx: &mut Tx<'_>, command: &Command) -> rusqlite::Result<Outcome> {
    let on = tx.connection;
    match command {
        Command::Submit { now, submit: what } => submit::submit(tx, *now, what),
        Command::Claim {
            now,
            request,
            tokens,
        } => claim::claim(tx, *now, request, &[], tokens).map(Outcome::Claimed),
        Command::ClaimOnce {
            now,
            request,
            tokens,
            marks,
        } => claim::claim(tx, *now, request, marks, tokens).map(Outcome::Claimed),
        Command::Renew { now, leases } => leases
            .iter()
            .map(|lease| renew(tx, *now, lease))
            .collect::<rusqlite::Result<_>>()
            .map(Outcome::Renewed),
        Command::Complete {
            now,
            lease,
            report,
            jitter,
        } => complete(tx, *now, lease, report, *jitter).map(Outcome::Completed),
        Command::CompleteMany { now, reports } => reports
            .iter()
            .map(|(lease, report, jitter)| complete(tx, *now, lease, report, *jitter))
            .collect::<rusqlite::Result<_>>()
            .map(Outcome::CompletedMany),
        Command::Release { now, leases, delay } => leases
            .iter()
            .map(|lease| release(tx, *now, lease, *delay))
            .collect::<rusqlite::Result<_>>()
            .map(Outcome::Released),
        Command::Cancel {
            now,
            target,
            reason,
            grace,
            limit,
        } => cancel(tx, *now, target, (reason.as_deref(), *grace), *limit).map(Outcome::Cancelled),
        Command::ExpireDue { now, limit } => {
            // The answer names the next alarm, which must not depend on what else is in the batch.
            tx.forget_alarms();
            due::expire(tx, *now, *limit).map(Outcome::Expired)
        }
        Command::Readmit { now, job } => due::readmit(tx, *now, *job).map(Outcome::Readmitted),
        Command::Reprieve { now } => due::reprieve(tx, *now).map(Outcome::Reprieved),
        Command::RegisterHost {
            now,
            host,
            held,
            names_stay,
        } => {
            if *names_stay && hosts::is_named_otherwise(tx.connection, host)? {
                return Ok(Outcome::Host(None));
            }
            hosts::register(tx, *now, host, held.as_deref())
                .map(|entry| Outcome::Host(Some(Box::new(entry))))
        }
        Command::SetHostMode { now, host, mode } => {
            hosts::set_mode(tx.connection, *now, host, *mode)
                .map(|entry| Outcome::Host(entry.map(Box::new)))
        }
        Command::ForgetHost { now, host } => hosts::forget(tx, *now, host).map(Outcome::Forgotten),
        Command::GiveBack {
            now,
            host,
            held,
            given_before,
        } => hosts::give_back(tx, *now, host, held, *given_before).map(Outcome::Released),
        Command::SetPaused { now: _, paused } => {
            hosts::set_paused(tx, *paused).map(|()| Outcome::Paused(*paused))
        }
        Command::AppendLog { now: _, pieces } => pieces
            .iter()
            .map(|piece| logs::append(tx, piece))
            .collect::<rusqlite::Result<_>>()
            .map(Outcome::Logged),
        Command::Retry { now, jobs } => retry::retry(tx, *now, jobs).map(Outcome::Retried),
        Command::DeployService { now, id, ask, node } => services::deploy(on, *now, id, ask, node)
            .map(|service| Outcome::Service(Some(Box::new(service)))),
        Command::ChangeService {
            now,
            id,
            change,
            node,
        } => services::change(on, *now, id, *change, node).map(Outcome::ServiceChanged),
        Command::SyncServices {
            now,
            host,
            reports,
            node,
        } => services::sync(on, *now, host, reports, node).map(Outcome::Services),
        Command::PlaceServices {
            now,
            hosts,
            seed,
            node,
        } => services::place(on, *now, hosts, *seed, node).map(Outcome::Services),
        Command::ClaimService {
            now,
            host,
            capabilities,
            node,
        } => services::claim(on, *now, host, capabilities, node)
            .map(|service| Outcome::Service(service.map(Box::new))),
        Command::ReportService {
            now,
            id,
            report,
            node,
        } => services::report(on, *now, id, report, node).map(Outcome::ServiceReported),
        Command::TakeOver {
            now: _,
            first,
            seed,
            original,
        } => take_over::take_over(tx, *first, *seed, original).map(Outcome::TakenOver),
        Command::Prune { now, rule } => {
            prune::prune(tx.connection, *now, rule).map(Outcome::Pruned)
        }
    }
}

fn renew(tx: &mut Tx<'_>, now: Timestamp, lease: &LeaseRef) -> rusqlite::Result<Renewed> {
    let Some(stored) = tx.find(lease.job)? else {
        return Ok(Renewed::LeaseLost);
    };
    let event = Event::Renew(lease.proof.clone().into());
    Ok(match tx.step(&stored, event, now, None)? {
        Err(_) => Renewed::LeaseLost,
        Ok(job) => match job.state {
            State::Leased(lease) => match lease.cancel {
                None => Renewed::Until(lease.expires_at),
                Some(ask) => Renewed::Cancel {
                    grace: ask.grace,
                    until: lease.expires_at,
                    reason: ask.reason,
                },
            },
            State::Queued { .. } | State::Ended(_) => Renewed::LeaseLost,
        },
    })
}

fn complete(
    tx: &mut Tx<'_>,
    now: Timestamp,
    lease: &LeaseRef,
    report: &Report,
    jitter: u32,
) -> rusqlite::Result<Completion> {
    let Some(stored) = tx.find(lease.job)? else {
        return Ok(Completion::LeaseLost);
    };
    let failure = match report.verdict {
        Verdict::Succeeded => None,
        Verdict::Failed(reason) => Some(reason),
    };
    let event = Event::Complete {
        proof: lease.proof.clone().into(),
        failure,
        jitter,
    };
    if let Ok(job) = tx.step(&stored, event, now, Some(&report.result))? {
        return Ok(completion(&job));
    }
    let last = row::attempt_key(stored.seq, stored.job.attempt);
    if matches!(stored.job.state, State::Queued { .. })
        && let Some(lost) = attempts::lost_lease(tx.connection, last)?
    {
        let event = Event::CompleteLate {
            lease: lost,
            proof: lease.proof.clone().into(),
            failure,
            jitter,
        };
        if let Ok(job) = tx.step(&stored, event, now, Some(&report.result))? {
            return Ok(completion(&job));
        }
    }
    let attempt = match &lease.proof {
        LeaseProof::Token { attempt, token } => {
            let key = row::attempt_key(stored.seq, *attempt);
            if attempts::was_reported(tx.connection, key, *token)? {
                return Ok(completion(&stored.job));
            }
            *attempt
        }
        LeaseProof::Host(_) => stored.job.attempt,
    };
    // Only attempts that were made: made-up numbers must not fill the disk.
    if attempt.get() > 0 && attempt <= stored.job.attempt {
        let key = row::attempt_key(stored.seq, attempt);
        attempts::put_aside(tx.connection, key, now, report)?;
    }
    Ok(Completion::LeaseLost)
}

fn release(
    tx: &mut Tx<'_>,
    now: Timestamp,
    lease: &LeaseRef,
    delay: Duration,
) -> rusqlite::Result<Completion> {
    let Some(stored) = tx.find(lease.job)? else {
        return Ok(Completion::LeaseLost);
    };
    let event = Event::Release {
        proof: lease.proof.clone().into(),
        delay,
    };
    Ok(match tx.step(&stored, event, now, None)? {
        Ok(job) => completion(&job),
        Err(_) => Completion::LeaseLost,
    })
}

pub const fn completion(job: &Job) -> Completion {
    match &job.state {
        State::Queued { not_before } => Completion::Requeued {
            not_before: *not_before,
        },
        State::Ended(ending) => Completion::Ended {
            status: job.status(),
            reason: ending.failure,
        },
        // Reported before and running again since: the reporter's part is over.
        State::Leased(_) => Completion::Requeued { not_before: None },
    }
}

fn cancel(
    tx: &mut Tx<'_>,
    now: Timestamp,
    target: &Cancel,
    (reason, grace): (Option<&str>, Option<Duration>),
    limit: u32,
) -> rusqlite::Result<Cancelled> {
    let mut done = Cancelled::default();
    let ids = match target {
        Cancel::Jobs(ids) => ids.clone(),
        Cancel::Group(group) => {
            let ids: Vec<JobId> = tx
                .connection
                .prepare_cached(
                    "SELECT id FROM job INDEXED BY job_group_queue WHERE grp = ?1 AND \
                     (state IN (0, 1) OR (state = 2 AND cancel_at IS NULL)) ORDER BY seq LIMIT ?2",
                )?
                .query_map(params![group.as_bytes(), limit], |row| {
                    row.get(0).map(JobId::from_bytes)
                })?
                .collect::<rusqlite::Result<_>>()?;
            done.more = ids.len() >= limit as usize;
            ids
        }
    };
    for id in ids {
        let Some(stored) = tx.find(id)? else {
            done.unknown.push(id);
            continue;
        };
        let event = Event::Cancel {
            reason: reason.map(ToOwned::to_owned),
            grace,
        };
        match tx.step(&stored, event, now, None)? {
            Err(_) => done.already_ended.push(id),
            Ok(job) => match job.state {
                State::Leased(_) => done.asked.push(id),
                State::Queued { .. } | State::Ended(_) => {
                    tx.connection
                        .prepare_cached(
                            "UPDATE job SET cancel_at = ?2, cancel_reason = ?3 WHERE seq = ?1",
                        )?
                        .execute(params![stored.seq, now.as_millis(), reason])?;
                    done.ended.push(id);
                }
            },
        }
    }
    Ok(done)
}
