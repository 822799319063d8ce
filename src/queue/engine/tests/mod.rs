//! The queue from outside, on a real file.

mod full;
mod lone;
mod one_member;
mod processes;
pub mod small_disk;

use std::path::Path;

use super::*;
use crate::protocol::{AttemptEnd, HostId, JobStatus, Payload, Reason, Requirement};
use crate::queue::{
    ClaimRequest, Claimant, Claimed, Completion, IntoGroup, LeaseProof, LeaseRef, NewGroup, NewJob,
    Renewed, Report, Verdict,
};
use crate::support::clock::{ManualClock, Timestamp};

const LEASE: Duration = Duration::from_secs(60);

fn open(dir: &Path) -> (Queue, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000)));
    let queue = Queue::open(Options {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..Options::new(dir.join("state/queue.db"))
    })
    .unwrap();
    (queue, clock)
}

/// Sees to it that what lies in the file fits together.
fn check(dir: &Path) {
    crate::queue::store::check_invariants(&dir.join("state/queue.db"));
}

fn job() -> NewJob {
    NewJob::new(Payload::parse(r#"{"kind": "shell"}"#).unwrap())
}

fn only(jobs: Vec<NewJob>) -> Submit {
    Submit { group: None, jobs }
}

fn asks(host: &str) -> ClaimRequest {
    ClaimRequest {
        claimants: vec![Claimant::new(HostId::new(host).unwrap())],
        group: None,
        lease_for: LEASE,
    }
}

fn report(verdict: Verdict) -> Report {
    Report {
        verdict,
        result: JobResult {
            exit_code: Some(0),
            ..JobResult::default()
        },
    }
}

async fn claim_one(queue: &Queue, host: &str) -> Claimed {
    queue.claim(asks(host)).await.unwrap().pop().unwrap()
}
