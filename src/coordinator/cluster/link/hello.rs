//! What members say of themselves when they meet, and how it is written.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::queue::cluster::{ClusterId, MemberId, Role, Status};
use crate::support::clock::Timestamp;

/// What a member says of itself at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Its number.
    pub member: MemberId,
    /// Its coordinator's id.
    pub name: String,
    /// What it speaks.
    pub protocol: u32,
    /// Which cluster it belongs to.
    pub cluster: Option<ClusterId>,
    /// What it is in it.
    pub role: Role,
    /// Who leads, and where it is reached.
    pub leader: Option<Leader>,
    /// Where others reach it, if it knows.
    pub url: Option<String>,
    /// Whom it was told to join, while it waits.
    pub peers: Vec<String>,
    /// Its clock.
    pub now: Timestamp,
}

impl Introduction {
    /// Returns what follows from `status`; `url` and `peers` are left empty.
    pub fn of(status: &Status, name: &str, protocol: u32, now: Timestamp) -> Self {
        let leader = status.leading().map(|(id, member)| Leader {
            member: id,
            url: member.url.clone(),
        });
        Self {
            member: status.id,
            name: name.to_owned(),
            protocol,
            cluster: status.cluster,
            role: status.role,
            leader,
            url: None,
            peers: Vec::new(),
            now,
        }
    }
}

/// Knows what this member says of itself.
pub trait Identity: Send + Sync + 'static {
    /// Returns it. Must not block.
    fn introduce(&self) -> Introduction;
}

impl<F: Fn() -> Introduction + Send + Sync + 'static> Identity for F {
    fn introduce(&self) -> Introduction {
        self()
    }
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Its number.
    pub member: MemberId,
    /// Where it is reached.
    pub url: String,
}

/// Who was found at a URL. It has proved that it knows the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What it said.
    pub who: Introduction,
    /// How long the answer took; its clock was read some time within.
    pub took: Duration,
}

/// The body of `/raft/hello`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    pub protocol: u32,
    pub member: MemberId,
    pub name: String,
    #[serde(default)]
    pub cluster: Option<ClusterId>,
    pub nonce: String,
    pub keys: Vec<String>,
}

/// Its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    pub protocol: u32,
    pub member: MemberId,
    pub name: String,
    #[serde(default)]
    pub cluster: Option<ClusterId>,
    pub role: String,
    #[serde(default)]
    pub leader: Option<Leader>,
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub peers: Vec<String>,
    /// In ms since 1970.
    pub now: i64,
    pub nonce: String,
    pub key: String,
    pub proof: String,
}

/// The body of `/raft/prove`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prove {
    pub proof: String,
}

impl Answer {
    /// Returns what `who` answers.
    pub fn of(who: Introduction, nonce: String, key: String, proof: String) -> Self {
        Self {
            protocol: who.protocol,
            member: who.member,
            name: who.name,
            cluster: who.cluster,
            role: who.role.as_str().to_owned(),
            leader: who.leader,
            url: who.url,
            peers: who.peers,
            now: who.now.as_millis(),
            nonce,
            key,
            proof,
        }
    }

    /// Returns who answered.
    pub fn who(self) -> Introduction {
        Introduction {
            member: self.member,
            name: self.name,
            protocol: self.protocol,
            cluster: self.cluster,
            role: role_of(&self.role),
            leader: self.leader,
            url: self.url,
            peers: self.peers,
            now: Timestamp::from_millis(self.now),
        }
    }
}

const ROLES: [Role; 6] = [
    Role::Lone,
    Role::Waiting,
    Role::Learner,
    Role::Follower,
    Role::Candidate,
    Role::Leader,
];

/// A role that a later version has is one that neither leads nor votes.
fn role_of(text: &str) -> Role {
    let found = ROLES.into_iter().find(|role| role.as_str() == text);
    found.unwrap_or(Role::Learner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_as_they_are_written() {
        for role in ROLES {
            assert_eq!(role_of(role.as_str()), role);
        }
        assert_eq!(role_of("witness"), Role::Learner);
    }
}
