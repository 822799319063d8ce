//! Who there is, for people, clients and coordinators of the original.

use std::time::Duration;

use tokio::time::Instant;

use super::address;
use super::asks::{self, Nothing, Roster};
use super::members::{self, Members};
use crate::coordinator::cluster::LinkError;
use crate::protocol::api::{PeerRecord, PeerRole, Peers};
use crate::queue::cluster::{Member, MemberId, PROTOCOL, Role, Status};

/// How long the leader may take to say how all are.
const ASK_WITHIN: Duration = Duration::from_secs(2);

impl Members {
    /// Returns who there is. Asks the leader how all are; without one it says what it knows itself.
    pub async fn peers(&self) -> Peers {
        let status = self.status();
        let members = match status.role {
            Role::Learner | Role::Follower | Role::Candidate => {
                self.roster_of_leader(&status).await
            }
            Role::Lone | Role::Waiting | Role::Leader => self.roster(&status),
        };
        Peers {
            node_id: self.settings.name.clone(),
            self_url: self.url().as_ref().map(address::shown),
            peers: others(&status),
            cluster: status.cluster.map(|cluster| cluster.to_string()),
            term: status.cluster.map(|_| status.term),
            leader: status.leader.map(|leader| leader.to_string()),
            members,
            ok: None,
        }
    }

    async fn roster_of_leader(&self, status: &Status) -> Vec<PeerRecord> {
        let asked: Result<Roster, LinkError> = match self.leader() {
            Ok((_, url)) => {
                self.links
                    .ask(&url, asks::ROSTER, &Nothing {}, ASK_WITHIN)
                    .await
            }
            Err(_) => return self.roster(status),
        };
        match asked {
            Ok(roster) => roster.members,
            Err(error) => {
                tracing::debug!(%error, "the leader does not say how the members are");
                self.roster(status)
            }
        }
    }

    /// Returns what this coordinator knows of each member.
    pub fn roster(&self, status: &Status) -> Vec<PeerRecord> {
        if status.members.is_empty() {
            return vec![self.alone(status)];
        }
        let members = status.members.iter();
        members
            .map(|(id, (member, voter))| self.record(status, *id, member, *voter))
            .collect()
    }

    fn alone(&self, status: &Status) -> PeerRecord {
        PeerRecord {
            id: status.id.to_string(),
            name: self.settings.name.clone(),
            url: self.url().as_ref().map(address::shown).unwrap_or_default(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            protocol: PROTOCOL,
            role: role(status.role),
            voter: status.role == Role::Lone,
            leader: status.role == Role::Lone,
            ..PeerRecord::default()
        }
    }

    fn record(&self, status: &Status, id: MemberId, member: &Member, voter: bool) -> PeerRecord {
        let leads = status.leader == Some(id);
        let own = status.id == id;
        let role = match (leads, own, voter) {
            (true, ..) => PeerRole::Leader,
            (false, true, _) => role(status.role),
            (false, false, true) => PeerRole::Follower,
            (false, false, false) => PeerRole::Learner,
        };
        let mut record = PeerRecord {
            id: id.to_string(),
            name: member.name.clone(),
            url: member.url.clone(),
            version: members::version_of(member),
            protocol: member.protocol,
            role,
            voter,
            leader: leads,
            ..PeerRecord::default()
        };
        if own {
            record.term = Some(status.term);
        }
        if status.role == Role::Leader {
            self.as_seen_by_leader(&mut record, status, id);
        }
        record
    }

    fn as_seen_by_leader(&self, record: &mut PeerRecord, status: &Status, id: MemberId) {
        let lag = match status.id == id {
            true => Some(0),
            false => status.lag.get(&id).copied(),
        };
        record.lag_records = lag;
        record.lag_seconds =
            lag.map(|lag| self.lookout.behind(status, lag, Instant::now()).as_secs());
        if status.id == id {
            record.reachable = Some(true);
            record.clock_offset_ms = Some(0);
        } else if let Some(look) = self.lookout.of(id) {
            record.reachable = Some(look.reachable);
            record.clock_offset_ms = look.clock_offset_ms;
            // Whoever follows this leader is in its term.
            record.term = look.reachable.then_some(status.term);
        }
    }
}

/// Returns where the other members are reached.
fn others(status: &Status) -> Vec<String> {
    let others = status.members.iter().filter(|(id, _)| **id != status.id);
    others.map(|(_, (member, _))| member.url.clone()).collect()
}

const fn role(role: Role) -> PeerRole {
    match role {
        Role::Lone => PeerRole::Lone,
        Role::Waiting => PeerRole::Waiting,
        Role::Learner => PeerRole::Learner,
        Role::Follower => PeerRole::Follower,
        Role::Candidate => PeerRole::Candidate,
        Role::Leader => PeerRole::Leader,
    }
}
