//! Which learner becomes a voter next. Pure.
//!
//! More voters survive more losses and make every write wait for more disks; beyond five the second
//! outweighs the first. The others learn along and step in when a voter is removed.

use crate::queue::cluster::{MemberId, Role, Status};

/// How many voters there are at most.
pub const MOST_VOTERS: usize = 5;

/// How many entries a learner may be behind to be asked for. It catches up with the rest in a moment.
pub const NEARLY: u64 = 1000;

/// Returns the learners that may become voters, the best one first: none if there are voters enough, or this is
/// not for us to decide. Whoever is not there now must not become one: it would count in the
/// majority and answer nothing. That is for the caller to ask.
pub fn candidates(status: &Status) -> Vec<MemberId> {
    if status.role != Role::Leader || voters(status) >= MOST_VOTERS {
        return Vec::new();
    }
    let mut learners: Vec<(u64, MemberId)> = status
        .members
        .iter()
        .filter(|(_, (_, voter))| !voter)
        .filter_map(|(id, _)| Some((*status.lag.get(id)?, *id)))
        .filter(|(lag, _)| *lag <= NEARLY)
        .collect();
    learners.sort_unstable();
    learners.into_iter().map(|(_, id)| id).collect()
}

/// Returns how many voters there are; one who is alone counts itself.
pub fn voters(status: &Status) -> usize {
    let voters = status.members.values().filter(|(_, voter)| *voter).count();
    voters.max(1)
}

/// Returns how many voters have a write before it is answered.
pub const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Returns how many voters there must be so that a majority is `copies`.
pub const fn voters_for(copies: u64) -> u64 {
    match copies {
        0 | 1 => 1,
        more => more.saturating_mul(2) - 2,
    }
}

#[cfg(test)]
#[path = "promotion_tests.rs"]
mod tests;
