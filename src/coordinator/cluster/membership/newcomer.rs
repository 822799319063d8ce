//! Who is taken into the cluster. Pure.
//!
//! A member is its number, which is kept with its data. A name and an address are what people know it by, and two
//! members must not share either. So a newcomer with a name or an address that is known
//! is either the same machine after its disk was wiped, then the old number goes, or a second one by
//! mistake, then it is refused. What the old member's address answers decides which.

use std::collections::BTreeMap;

use crate::queue::cluster::{Member, MemberId};

/// Who asks to be taken in. That it is reached at its address has been looked at before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    /// Its number.
    pub id: MemberId,
    /// What is to be known of it.
    pub member: Member,
}

/// What the address of a member says when it is asked who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The coordinator with this number.
    Is(MemberId),
    /// Nothing, or nothing that can be believed.
    Nothing,
}

/// What is done with a newcomer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is a member already, and known as it is.
    Known,
    /// It is a member already, and is reached or called otherwise than before.
    Changed,
    /// It is taken in; these are what it was before its disk was wiped, and go.
    Welcome(Vec<MemberId>),
    /// It is not.
    Refused(Refusal),
}

/// Why somebody is not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another one with this name is alive.
    #[error(
        "another coordinator is called {name} and answers at {url}: give this one a name of its own with --node-id"
    )]
    NameInUse {
        /// The name.
        name: String,
        /// Where the other one is.
        url: String,
    },
    /// It reads less than the members have written.
    #[error(
        "it speaks protocol {theirs} and this cluster {lowest}: update skyclaw there, then start it again"
    )]
    TooOld {
        /// The newcomer's.
        theirs: u32,
        /// The lowest of all members.
        lowest: u32,
    },
}

/// Returns the members that have to be asked who they are before it is decided about the newcomer.
pub fn namesakes(
    newcomer: &Newcomer,
    members: &BTreeMap<MemberId, (Member, bool)>,
) -> Vec<MemberId> {
    members
        .iter()
        .filter(|(id, (member, _))| {
            **id != newcomer.id
                && (member.name == newcomer.member.name || member.url == newcomer.member.url)
        })
        .map(|(id, _)| *id)
        .collect()
}

/// Decides about a newcomer. `answers` has what the addresses of its [`namesakes`] said.
pub fn decide(
    newcomer: &Newcomer,
    members: &BTreeMap<MemberId, (Member, bool)>,
    answers: &BTreeMap<MemberId, Answer>,
) -> Decision {
    let theirs = newcomer.member.protocol;
    if let Some(lowest) = lowest_protocol(members)
        && theirs < lowest
    {
        return Decision::Refused(Refusal::TooOld { theirs, lowest });
    }
    let mut gone = Vec::new();
    for id in namesakes(newcomer, members) {
        let Some((member, _)) = members.get(&id) else {
            continue;
        };
        match answers.get(&id) {
            Some(Answer::Is(there)) if *there == id => {
                // At the newcomer's own address it is the newcomer that answers.
                return Decision::Refused(Refusal::NameInUse {
                    name: member.name.clone(),
                    url: member.url.clone(),
                });
            }
            Some(Answer::Is(_) | Answer::Nothing) | None => gone.push(id),
        }
    }
    match members.get(&newcomer.id) {
        Some((known, _)) if *known == newcomer.member => Decision::Known,
        Some(_) => Decision::Changed,
        None => Decision::Welcome(gone),
    }
}

/// Returns the protocol that every member can read: what the leader may write. Nothing if there is nobody.
pub fn lowest_protocol(members: &BTreeMap<MemberId, (Member, bool)>) -> Option<u32> {
    members.values().map(|(member, _)| member.protocol).min()
}

#[cfg(test)]
#[path = "newcomer_tests.rs"]
mod tests;
