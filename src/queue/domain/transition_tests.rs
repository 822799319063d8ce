//! What each event does to each state.

use super::*;
use crate::queue::domain::Limits;

const LEASE: Duration = Duration::from_secs(60);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn queued(max_attempts: u16, retries: u16) -> Job {
    Job {
        limits: Limits {
            max_attempts,
            retries,
        },
        start_by: None,
        pinned: false,
        attempt: AttemptNo::NONE,
        lost: 0,
        failed: 0,
        avoid: None,
        state: State::Queued { not_before: None },
    }
}

fn token() -> LeaseToken {
    LeaseToken::from_bytes([7; 16])
}

fn leased(job: &Job, now: Timestamp) -> Job {
    let host = HostId::new("a").unwrap();
    let event = Event::Claim {
        host,
        token: token(),
        lease_for: LEASE,
    };
    apply(job, event, now).unwrap().job
}

fn fails(job: &Job, reason: Reason) -> Step {
    let proof = Proof::Token(job.attempt, token());
    apply(
        job,
        Event::Complete {
            proof,
            failure: Some(reason),
            jitter: 0,
        },
        at(1),
    )
    .unwrap()
}

#[test]
fn reasons_tell_whether_tries_were_allowed() {
    for (job, reported, last) in [
        (queued(1, 0), Reason::Exit, Reason::Exit),
        (queued(1, 0), Reason::Lost, Reason::Lost),
        (queued(9, 9), Reason::Timeout, Reason::Timeout),
        (queued(9, 9), Reason::NotAllowed, Reason::NotAllowed),
    ] {
        let step = fails(&leased(&job, at(0)), reported);
        assert_eq!(
            step.job.state,
            State::Ended(Ending {
                failure: Some(last),
                at: at(1)
            })
        );
        assert_eq!(step.effects.last(), Some(&Effect::Ended(JobStatus::Failed)));
    }
}

#[test]
fn retries_wait_and_then_the_job_is_dead() {
    let step = fails(&leased(&queued(1, 1), at(0)), Reason::Exit);
    assert_eq!(
        step.job.state,
        State::Queued {
            not_before: Some(at(6))
        }
    );
    let again = apply(&step.job, Event::Due, at(6)).unwrap().job;
    let State::Ended(ending) = fails(&leased(&again, at(6)), Reason::Exit).job.state else {
        panic!("one retry only");
    };
    assert_eq!(ending.failure, Some(Reason::Dead));
}

#[test]
fn an_ended_job_never_changes() {
    let job = apply(
        &queued(3, 0),
        Event::Cancel {
            reason: None,
            grace: None,
        },
        at(0),
    )
    .unwrap()
    .job;
    assert_eq!(
        apply(
            &job,
            Event::Cancel {
                reason: None,
                grace: None
            },
            at(1)
        ),
        Err(Rejected::Ended)
    );
    assert_eq!(apply(&job, Event::Due, at(1)), Err(Rejected::Ended));
    let proof = Proof::Token(job.attempt, token());
    assert_eq!(
        apply(&job, Event::Renew(proof), at(1)),
        Err(Rejected::LeaseLost)
    );
}

#[test]
fn a_missed_start_is_a_deadline() {
    let job = Job {
        start_by: Some(at(5)),
        ..queued(3, 0)
    };
    assert_eq!(apply(&job, Event::Due, at(4)), Err(Rejected::NotDue));
    let step = apply(&job, Event::Due, at(5)).unwrap();
    assert_eq!(
        step.job.state,
        State::Ended(Ending {
            failure: Some(Reason::Deadline),
            at: at(5)
        })
    );
}

#[test]
fn a_late_report_counts_until_somebody_else_begins() {
    let held = leased(&queued(3, 0), at(0));
    let State::Leased(lease) = &held.state else {
        panic!("it was claimed");
    };
    let waits = apply(&held, Event::Due, at(60)).unwrap().job;
    let late = |job: &Job, proof: Proof, failure: Option<Reason>| {
        let event = Event::CompleteLate {
            lease: lease.clone(),
            proof,
            failure,
            jitter: 0,
        };
        apply(job, event, at(61))
    };
    let proof = || Proof::Token(held.attempt, token());
    let step = late(&waits, proof(), None).unwrap();
    assert_eq!(
        (step.job.status(), step.job.lost),
        (JobStatus::Completed, 0)
    );
    assert_eq!(
        step.effects.first(),
        Some(&Effect::LossUndone(held.attempt))
    );
    assert_eq!(
        late(&waits, proof(), Some(Reason::Lost)),
        Err(Rejected::LeaseLost)
    );
    let other = Proof::Host(HostId::new("b").unwrap());
    assert_eq!(late(&waits, other, None), Err(Rejected::LeaseLost));
    let forged = Proof::Token(held.attempt, LeaseToken::from_bytes([8; 16]));
    assert_eq!(late(&waits, forged, None), Err(Rejected::LeaseLost));
    let again = leased(&apply(&waits, Event::Due, at(120)).unwrap().job, at(120));
    assert_eq!(late(&again, proof(), None), Err(Rejected::LeaseLost));
    assert_eq!(late(&step.job, proof(), None), Err(Rejected::LeaseLost));
}
