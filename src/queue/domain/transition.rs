//! Every way a job can change. Nothing else in the program sets a job's state.

use std::time::Duration;

use crate::protocol::{AttemptEnd, AttemptNo, HostId, JobStatus, LeaseToken, Reason};
use crate::support::clock::Timestamp;

use super::backoff;
use super::job::{Avoid, Ending, Job, State};
use super::late::complete_late;
use super::lease::{CancelAsk, Lease, Proof};

/// What happens to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A host takes it.
    Claim {
        /// Who.
        host: HostId,
        /// The proof it will show.
        token: LeaseToken,
        /// How long without renewal.
        lease_for: Duration,
    },
    /// The holder goes on.
    Renew(Proof),
    /// The holder is done with it.
    Complete {
        /// That it is the holder.
        proof: Proof,
        /// Nothing if it went well.
        failure: Option<Reason>,
        /// For the backoff, in `0..backoff::WHOLE`.
        jitter: u32,
    },
    /// Its last holder is done with it, after its lease was lost and while nobody else began.
    CompleteLate {
        /// What was lost, and never reported.
        lease: Lease,
        /// That it was the holder.
        proof: Proof,
        /// Nothing if it went well.
        failure: Option<Reason>,
        /// For the backoff, in `0..backoff::WHOLE`.
        jitter: u32,
    },
    /// The holder gives it back unharmed.
    Release {
        /// That it is the holder.
        proof: Proof,
        /// How long nobody should take it.
        delay: Duration,
    },
    /// A person takes it back.
    Cancel {
        /// What was said about it.
        reason: Option<String>,
        /// How long it may tidy up; nothing leaves that to its host.
        grace: Option<Duration>,
    },
    /// Its holder is known to be gone.
    Lose,
    /// Nobody but the host that lost it could run it.
    Readmit,
    /// Time passed.
    Due,
}

/// What else must be written or told because a job changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// An attempt is over and belongs into the history.
    AttemptEnded {
        /// Its number.
        attempt: AttemptNo,
        /// Its lease.
        lease: Lease,
        /// How it ended.
        end: AttemptEnd,
        /// Why it failed.
        reason: Option<Reason>,
    },
    /// This attempt was not lost after all: what the history says of it goes.
    LossUndone(AttemptNo),
    /// A host may take the job now.
    Ready,
    /// The holder should hear of a cancel at once.
    CancelAsked(AttemptNo),
    /// The job reached its last status.
    Ended(JobStatus),
}

/// Why an event does not apply. Normal: the sender was too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The proof is not that of the running attempt.
    #[error("the lease is lost")]
    LeaseLost,
    /// The job does not wait for a host.
    #[error("the job is not queued, or not yet")]
    NotQueued,
    /// The job never changes again.
    #[error("the job has ended")]
    Ended,
    /// Nothing is due yet.
    #[error("nothing is due")]
    NotDue,
}

/// A job after an event, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The job as it is now.
    pub job: Job,
    /// What follows.
    pub effects: Vec<Effect>,
}

/// Returns `job` after `event` at `now`.
///
/// # Errors
/// When the event does not apply to the job as it stands; then nothing changes.
pub fn apply(job: &Job, event: Event, now: Timestamp) -> Result<Step, Rejected> {
    match event {
        Event::Claim {
            host,
            token,
            lease_for,
        } => claim(job, host, token, lease_for, now),
        Event::Renew(proof) => renew(job, &proof, now),
        Event::Complete {
            proof,
            failure,
            jitter,
        } => complete(job, &proof, failure, jitter, now),
        Event::CompleteLate {
            lease,
            proof,
            failure,
            jitter,
        } => complete_late(job, lease, &proof, failure, jitter, now),
        Event::Release { proof, delay } => release(job, &proof, delay, now),
        Event::Cancel { reason, grace } => cancel(job, reason, grace, now),
        Event::Lose => match &job.state {
            State::Leased(lease) => Ok(lost(job, lease, now)),
            State::Queued { .. } | State::Ended(_) => Err(Rejected::LeaseLost),
        },
        Event::Readmit => readmit(job, now),
        Event::Due => due(job, now),
    }
}

fn claim(
    job: &Job,
    host: HostId,
    token: LeaseToken,
    lease_for: Duration,
    now: Timestamp,
) -> Result<Step, Rejected> {
    let State::Queued { not_before } = &job.state else {
        return Err(Rejected::NotQueued);
    };
    let too_early = not_before.is_some_and(|at| now < at);
    let too_late = job.start_by.is_some_and(|at| now >= at);
    let unwanted = job
        .avoid
        .as_ref()
        .is_some_and(|avoid| avoid.host == host && now < avoid.until);
    let Some(attempt) = job.attempt.next() else {
        return Err(Rejected::NotQueued);
    };
    if too_early || too_late || unwanted {
        return Err(Rejected::NotQueued);
    }
    let lease = Lease {
        host,
        token,
        since: now,
        lease_for,
        expires_at: now.plus(lease_for),
        cancel: None,
    };
    Ok(Step {
        job: Job {
            attempt,
            avoid: None,
            state: State::Leased(lease),
            ..job.clone()
        },
        effects: Vec::new(),
    })
}

/// Returns the running lease if `proof` is its own.
fn held<'a>(job: &'a Job, proof: &Proof) -> Result<&'a Lease, Rejected> {
    match &job.state {
        State::Leased(lease) if lease.accepts(job.attempt, proof) => Ok(lease),
        State::Leased(_) | State::Queued { .. } | State::Ended(_) => Err(Rejected::LeaseLost),
    }
}

fn renew(job: &Job, proof: &Proof, now: Timestamp) -> Result<Step, Rejected> {
    let lease = held(job, proof)?;
    let expires_at = match lease.cancel {
        // A holder that is told to end and does not must not keep the job by renewing.
        Some(_) => lease.expires_at,
        // Never shorter: a clock that was set back must not take time away.
        None => now.plus(lease.lease_for).max(lease.expires_at),
    };
    Ok(Step {
        job: Job {
            state: State::Leased(Lease {
                expires_at,
                ..lease.clone()
            }),
            ..job.clone()
        },
        effects: Vec::new(),
    })
}

/// Returns `job` after its holder reported.
pub(super) fn complete(
    job: &Job,
    proof: &Proof,
    failure: Option<Reason>,
    jitter: u32,
    now: Timestamp,
) -> Result<Step, Rejected> {
    let lease = held(job, proof)?;
    let Some(reason) = failure else {
        let over = attempt_ended(job, lease, AttemptEnd::Succeeded, None);
        return Ok(ended(job.clone(), None, now, vec![over]));
    };
    if lease.cancel.is_some() {
        // However the job died after a cancel, the cancel is why.
        let reason = Some(Reason::Cancelled);
        let over = attempt_ended(job, lease, AttemptEnd::Failed, reason);
        return Ok(ended(job.clone(), reason, now, vec![over]));
    }
    match reason {
        Reason::Lost => Ok(lost(job, lease, now)),
        Reason::Exit => Ok(failed(job, lease, jitter, now)),
        Reason::Timeout
        | Reason::Cancelled
        | Reason::Deadline
        | Reason::NotAllowed
        | Reason::Dead
        | Reason::Spawn => {
            let over = attempt_ended(job, lease, AttemptEnd::Failed, Some(reason));
            Ok(ended(job.clone(), Some(reason), now, vec![over]))
        }
    }
}

/// The job ran and failed by itself: again after a wait, or the end.
fn failed(job: &Job, lease: &Lease, jitter: u32, now: Timestamp) -> Step {
    let failures = job.failed.saturating_add(1);
    let over = attempt_ended(job, lease, AttemptEnd::Failed, Some(Reason::Exit));
    let counted = Job {
        failed: failures,
        ..job.clone()
    };
    if failures <= job.limits.retries {
        let at = now.plus(backoff::wait(failures, jitter));
        return requeued(counted, Some(at), now, vec![over]);
    }
    // "dead" tells that tries were allowed and used up; a job without retries just failed.
    let reason = match job.limits.retries {
        0 => Reason::Exit,
        _ => Reason::Dead,
    };
    ended(counted, Some(reason), now, vec![over])
}

/// The holder vanished: to another host, or the end.
fn lost(job: &Job, lease: &Lease, now: Timestamp) -> Step {
    let over = attempt_ended(job, lease, AttemptEnd::Lost, Some(Reason::Lost));
    let losses = job.lost.saturating_add(1);
    let avoid = Avoid {
        host: lease.host.clone(),
        until: now.plus(lease.lease_for),
    };
    let counted = Job {
        lost: losses,
        avoid: (!job.pinned).then_some(avoid),
        ..job.clone()
    };
    if lease.cancel.is_some() {
        return ended(counted, Some(Reason::Cancelled), now, vec![over]);
    }
    if losses < job.limits.max_attempts {
        return requeued(counted, None, now, vec![over]);
    }
    let reason = match job.limits.max_attempts {
        0 | 1 => Reason::Lost,
        _ => Reason::Dead,
    };
    ended(counted, Some(reason), now, vec![over])
}

fn release(job: &Job, proof: &Proof, delay: Duration, now: Timestamp) -> Result<Step, Rejected> {
    let lease = held(job, proof)?;
    let over = attempt_ended(job, lease, AttemptEnd::Released, None);
    if lease.cancel.is_some() {
        return Ok(ended(job.clone(), Some(Reason::Cancelled), now, vec![over]));
    }
    let not_before = (delay > Duration::ZERO).then(|| now.plus(delay));
    Ok(requeued(job.clone(), not_before, now, vec![over]))
}

fn cancel(
    job: &Job,
    reason: Option<String>,
    grace: Option<Duration>,
    now: Timestamp,
) -> Result<Step, Rejected> {
    match &job.state {
        State::Queued { .. } => Ok(ended(job.clone(), Some(Reason::Cancelled), now, Vec::new())),
        State::Leased(lease) => {
            // Asked twice: the first time counts, or asking again would prolong the wait.
            let asked = lease.cancel.clone();
            let expires_at = match asked {
                Some(_) => lease.expires_at,
                None => now.plus(lease.lease_for.saturating_add(grace.unwrap_or_default())),
            };
            let lease = Lease {
                expires_at,
                cancel: asked.or(Some(CancelAsk {
                    asked_at: now,
                    reason,
                    grace,
                })),
                ..lease.clone()
            };
            Ok(Step {
                job: Job {
                    state: State::Leased(lease),
                    ..job.clone()
                },
                effects: vec![Effect::CancelAsked(job.attempt)],
            })
        }
        State::Ended(_) => Err(Rejected::Ended),
    }
}

fn due(job: &Job, now: Timestamp) -> Result<Step, Rejected> {
    match &job.state {
        State::Queued { not_before } => {
            if job.start_by.is_some_and(|at| now >= at) {
                return Ok(ended(job.clone(), Some(Reason::Deadline), now, Vec::new()));
            }
            match not_before {
                Some(at) if now >= *at => Ok(requeued(job.clone(), None, now, Vec::new())),
                Some(_) => Err(Rejected::NotDue),
                // The host that lost it may have it again: those who wait should hear of it.
                None if job.avoid.as_ref().is_some_and(|avoid| now >= avoid.until) => {
                    let free = Job {
                        avoid: None,
                        ..job.clone()
                    };
                    Ok(requeued(free, None, now, Vec::new()))
                }
                None => Err(Rejected::NotDue),
            }
        }
        State::Leased(lease) if now >= lease.expires_at => Ok(lost(job, lease, now)),
        State::Leased(_) => Err(Rejected::NotDue),
        State::Ended(_) => Err(Rejected::Ended),
    }
}

/// The host that lost it may have it again at once: those who wait should hear of it.
fn readmit(job: &Job, now: Timestamp) -> Result<Step, Rejected> {
    let State::Queued { not_before } = &job.state else {
        return Err(Rejected::NotQueued);
    };
    if job.avoid.is_none() {
        return Err(Rejected::NotDue);
    }
    let free = Job {
        avoid: None,
        ..job.clone()
    };
    Ok(requeued(free, *not_before, now, Vec::new()))
}

fn attempt_ended(job: &Job, lease: &Lease, end: AttemptEnd, reason: Option<Reason>) -> Effect {
    Effect::AttemptEnded {
        attempt: job.attempt,
        lease: lease.clone(),
        end,
        reason,
    }
}

fn requeued(
    job: Job,
    not_before: Option<Timestamp>,
    now: Timestamp,
    mut effects: Vec<Effect>,
) -> Step {
    if job.attempt.next().is_none() {
        // The numbers ran out; giving one out twice would break the fence.
        return ended(job, Some(Reason::Dead), now, effects);
    }
    if not_before.is_none() {
        effects.push(Effect::Ready);
    }
    Step {
        job: Job {
            state: State::Queued { not_before },
            ..job
        },
        effects,
    }
}

fn ended(job: Job, failure: Option<Reason>, at: Timestamp, mut effects: Vec<Effect>) -> Step {
    let job = Job {
        state: State::Ended(Ending { failure, at }),
        ..job
    };
    effects.push(Effect::Ended(job.status()));
    Step { job, effects }
}

#[cfg(test)]
#[path = "transition_tests.rs"]
mod tests;
