//! Whether a member can be removed without stopping the others. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::promotion::majority;
use crate::queue::cluster::{Member, MemberId};

/// Why a member cannot go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody would be left who has a vote.
    #[error(
        "{name} is the only one with a vote: nobody would go on. Stop it instead, or wait until another has caught up"
    )]
    Last {
        /// What it is called.
        name: String,
    },
    /// Too few of those that would be left answer.
    #[error(
        "without {name} there would be {left} with a vote, of whom {alive} answer, and a majority is {needed}: nothing could be written any more. \
         Bring back or remove those first that do not answer"
    )]
    WouldStop {
        /// What it is called.
        name: String,
        /// How many would be left.
        left: usize,
        /// How many of them answer.
        alive: usize,
        /// How many must.
        needed: usize,
    },
}

/// Checks whether `target` may be removed, told who answers.
///
/// # Errors
/// When the others could not go on.
pub fn check(
    members: &BTreeMap<MemberId, (Member, bool)>,
    target: MemberId,
    alive: &BTreeSet<MemberId>,
) -> Result<(), Refusal> {
    let Some((member, true)) = members.get(&target) else {
        // Who has no vote is not missed.
        return Ok(());
    };
    let left: Vec<MemberId> = members
        .iter()
        .filter(|(id, (_, voter))| *voter && **id != target)
        .map(|(id, _)| *id)
        .collect();
    let name = member.name.clone();
    if left.is_empty() {
        return Err(Refusal::Last { name });
    }
    let answering = left.iter().filter(|id| alive.contains(id)).count();
    let needed = majority(left.len());
    if answering < needed {
        return Err(Refusal::WouldStop {
            name,
            left: left.len(),
            alive: answering,
            needed,
        });
    }
    Ok(())
}

/// Returns the members that `word` means: by number, name or address.
pub fn meant(members: &BTreeMap<MemberId, (Member, bool)>, word: &str) -> Vec<MemberId> {
    let address = super::address::parse(word)
        .map(|url| super::address::shown(&url))
        .ok();
    members
        .iter()
        .filter(|(id, (member, _))| {
            id.to_string() == word
                || member.name == word
                || address.as_ref().is_some_and(|url| *url == member.url)
        })
        .map(|(id, _)| *id)
        .collect()
}

#[cfg(test)]
#[path = "removal_tests.rs"]
mod tests;
