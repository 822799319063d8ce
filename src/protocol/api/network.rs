//! Which coordinators there are: what they tell each other, clients and people. The original's fields stay as they were.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/network/peers`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Peers {
    /// Which coordinator answers.
    pub node_id: String,
    /// Where it is reached, if it knows.
    #[serde(default, rename = "self", skip_serializing_if = "Option::is_none")]
    pub self_url: Option<String>,
    /// Where the others are reached: all other members of its cluster.
    pub peers: Vec<String>,
    /// The cluster; nothing while it is alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Which term of office it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// The id of the member that leads, if the answering one knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// All members, the answering one among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<PeerRecord>,
    /// Says in answers to changes that it worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
}

/// A member of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerRecord {
    /// Its number, kept with its data.
    pub id: String,
    /// Its name: the node id of the coordinator.
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// Its version of skyclaw, if it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Which protocol it speaks with the other members.
    pub protocol: u32,
    /// What it is.
    pub role: PeerRole,
    /// Whether it has a vote.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
    /// Which term of office it is in, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// Whether it answered the leader lately; nothing if nobody leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachable: Option<bool>,
    /// How many records of the log it lacks; only the leader knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_records: Option<u64>,
    /// For how long it has lacked the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
    /// How far its clock is ahead of the leader's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset_ms: Option<i64>,
}

/// What a coordinator is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum PeerRole {
    /// The only one there is.
    Lone,
    /// Not taken in yet.
    Waiting,
    /// Has all data or soon will, and no vote.
    Learner,
    /// Has a vote.
    Follower,
    /// Has a vote and wants to lead.
    Candidate,
    /// Leads.
    Leader,
    /// One that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl PeerRole {
    /// Returns the word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lone => "lone",
            Self::Waiting => "waiting",
            Self::Learner => "learner",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Unknown => "unknown",
        }
    }
}

/// `POST /v1/network/join`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Join {
    /// Where the coordinator is reached that is to join. Required.
    #[serde(default)]
    pub url: String,
}

/// `POST /v1/network/remove`: one of the three.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct RemovePeer {
    /// The member's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Answer to `POST /v1/replicate/snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// It worked.
    pub ok: bool,
    /// Whether anything was written; not if this very state was taken over before.
    pub changed: bool,
    /// Which coordinator answers.
    pub node_id: String,
    /// How many jobs were taken over.
    pub jobs: u64,
    /// How many hosts.
    pub hosts: u64,
    /// How many services.
    pub services: u64,
    /// How many records could not be read and were left out.
    pub skipped: u64,
}
