//! What coordinators ask each other about who belongs to the cluster. Only over connections on which both have proved that they
//! know its secret.
//!
//! A field that one side does not know is ignored by it, so members of different versions understand each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::api::PeerRecord;
use crate::queue::cluster::MemberId;

/// Asks to be taken in.
pub const JOIN: &str = "/raft/join";
/// Asks for the promise to let somebody found.
pub const CONSENT: &str = "/raft/consent";
/// Gives that promise back.
pub const RELEASE: &str = "/raft/release";
/// Asks somebody who is alone and empty to ask to be taken in.
pub const INVITE: &str = "/raft/invite";
/// Asks the leader to remove a member.
pub const REMOVE: &str = "/raft/remove";
/// Tells a member that it was removed.
pub const REMOVED: &str = "/raft/removed";
/// Asks a member to stand for election, because the leader is about to go.
pub const STAND: &str = "/raft/stand";
/// Asks whether somebody is a member.
pub const STANDING: &str = "/raft/standing";
/// Tells a member where another one is, and whom it found where the log does not say.
pub const HERE: &str = "/raft/here";
/// Asks the leader how all members are.
pub const ROSTER: &str = "/raft/roster";

/// Body of [`JOIN`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Who asks.
    pub member: MemberId,
    /// Its name.
    pub name: String,
    /// What it speaks.
    pub protocol: u32,
    /// Its version, for people.
    #[serde(default)]
    pub version: String,
    /// Where it is reached, if it knows.
    #[serde(default)]
    pub url: Option<String>,
    /// The port it listens on.
    pub port: u16,
    /// Under which address it reached the one it asks.
    #[serde(default)]
    pub to: Option<String>,
    /// Where the member that passes this on saw it.
    #[serde(default)]
    pub seen: Option<String>,
}

/// Answer to [`JOIN`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Where the newcomer is reached, as the cluster knows it from now on.
    pub url: String,
}

/// Body of [`CONSENT`] and [`RELEASE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Who wants to found.
    pub founder: MemberId,
    /// Where it is reached, if it knows.
    #[serde(default)]
    pub url: Option<String>,
    /// Where it listens.
    #[serde(default)]
    pub port: u16,
    /// Under which address it reached the one it asks.
    #[serde(default)]
    pub to: Option<String>,
}

/// Answer to [`CONSENT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consented {
    /// Whether the promise was given.
    pub agreed: bool,
    /// Where the founder was seen.
    #[serde(default)]
    pub seen: Option<String>,
}

/// Body of [`HERE`], and the answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Here {
    /// Who says so.
    pub member: MemberId,
    /// Where it is reached, if it knows.
    #[serde(default)]
    pub url: Option<String>,
    /// Where it listens.
    pub port: u16,
    /// Where it found others.
    #[serde(default)]
    pub found: BTreeMap<MemberId, String>,
}

/// Body of [`INVITE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Where to ask.
    pub url: String,
}

/// Body of [`REMOVE`], [`REMOVED`], [`STAND`] and [`STANDING`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Who is meant.
    pub member: MemberId,
}

/// Answer to [`STANDING`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whether it is a member, by the word of the leader.
    pub is_member: bool,
    /// Where it is reached, as the cluster knows it.
    #[serde(default)]
    pub url: Option<String>,
}

/// Answer to [`ROSTER`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Roster {
    /// Every member.
    pub members: Vec<PeerRecord>,
}

/// Nothing to say, in question or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Nothing {}
