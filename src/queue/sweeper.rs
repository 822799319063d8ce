//! Sees to it that what is due happens and what is old goes, as long as it runs.

use std::time::Duration;

use super::command::{Prune, Pruned};
use super::engine::Queue;
use super::error::Error;
use crate::support::clock::Timestamp;

/// What is remembered, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long an ended job stays.
    pub ended_for: Duration,
    /// How many ended jobs stay at most.
    pub keep_ended: u64,
    /// How many groups stay; see [`Prune::keep_groups`].
    pub keep_groups: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            ended_for: Duration::from_secs(7 * 24 * 3600),
            keep_ended: 100_000,
            keep_groups: Some(200),
        }
    }
}

impl Retention {
    /// Returns one step of pruning by this retention at `now`.
    pub fn rule(&self, now: Timestamp) -> Prune {
        Prune {
            ended_before: now.minus(self.ended_for),
            keep_ended: self.keep_ended,
            keep_groups: self.keep_groups,
            limit: 500,
        }
    }
}

/// Prunes in small steps until nothing old is left. Returns all that went.
///
/// # Errors
/// When the file fails; what went before stays gone.
pub async fn prune_all(
    queue: &Queue,
    retention: &Retention,
    now: Timestamp,
) -> Result<Pruned, Error> {
    let mut all = Pruned::default();
    loop {
        let step = queue.prune(retention.rule(now)).await?;
        all.jobs += step.jobs;
        all.keys += step.keys;
        all.groups.extend(step.groups);
        if !step.more {
            return Ok(all);
        }
    }
}
