//! A report that comes after its lease ran out, while the job still waits for another host.
//!
//! Running it again would cost more and tell no more. The loss is taken back, and the report counts as
//! if it had come in time. Nobody else can have a result by then: no newer attempt was begun.

use crate::protocol::Reason;
use crate::support::clock::Timestamp;

use super::job::{Job, State};
use super::lease::{Lease, Proof};
use super::transition::{Effect, Rejected, Step, complete};

/// Returns `job` after its last attempt, which lost `lease` and was never reported, is reported.
///
/// # Errors
/// When the job does not wait, the proof is of another attempt, or the report only tells of the loss.
pub fn complete_late(
    job: &Job,
    lease: Lease,
    proof: &Proof,
    failure: Option<Reason>,
    jitter: u32,
    now: Timestamp,
) -> Result<Step, Rejected> {
    let waits = matches!(job.state, State::Queued { .. });
    if !waits || job.lost == 0 || failure == Some(Reason::Lost) {
        return Err(Rejected::LeaseLost);
    }
    let before = Job {
        lost: job.lost.saturating_sub(1),
        avoid: None,
        state: State::Leased(lease),
        ..job.clone()
    };
    let Step { job, effects } = complete(&before, proof, failure, jitter, now)?;
    let undone = std::iter::once(Effect::LossUndone(job.attempt));
    Ok(Step {
        effects: undone.chain(effects).collect(),
        job,
    })
}
