//! Who is in the cluster: taking members in, giving them a vote, letting them go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};

use super::life::Core;
use super::receive::died;
use super::types::Raft;
use super::{Member, MemberId};
use crate::protocol::Invalid;
use crate::queue::error::Error;

/// How long a majority may take to agree.
const PATIENCE: Duration = Duration::from_secs(10);

/// A member that is no more than this many entries behind gets the rest before anybody notices.
const CLOSE: u64 = 256;

/// In how many levels of JSON a member's words are wrapped at most, in messages and in the log.
const WRAPPED: usize = 24;

type Change = ChangeMembers<MemberId, Member>;

impl Core {
    /// Takes a member in, as a learner, or learns what is new of one that is in.
    ///
    /// # Errors
    /// When this is not the leader or there is no majority.
    pub async fn add(&self, id: MemberId, member: Member) -> Result<(), Error> {
        readable(&member)?;
        let _changing = self.changing.lock().await;
        let raft = self.raft().await?;
        let node = BTreeMap::from([(id, member.clone())]);
        let known = raft
            .metrics()
            .borrow()
            .membership_config
            .membership()
            .get_node(&id)
            .cloned();
        match known {
            Some(known) if known == member => confirmed(&raft).await,
            Some(_) => change(&raft, Change::SetNodes(node)).await,
            None => change(&raft, Change::AddNodes(node)).await,
        }
    }

    /// Gives a learner a vote.
    ///
    /// # Errors
    /// When it is behind or unknown, this is not the leader, or there is no majority.
    pub async fn promote(&self, id: MemberId) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let raft = self.raft().await?;
        confirmed(&raft).await?;
        let (is_voter, behind) = {
            let metrics = raft.metrics();
            let seen = metrics.borrow();
            let members = seen.membership_config.membership();
            if members.get_node(&id).is_none() {
                return Err(unknown(id));
            }
            let matched = seen
                .replication
                .as_ref()
                .and_then(|all| all.get(&id).copied());
            let last = seen.last_log_index.unwrap_or(0);
            let behind = match matched.flatten() {
                Some(at) => last.saturating_sub(at.index),
                // Nothing of it is known yet: it may have everything or nothing.
                None => last.max(CLOSE + 1),
            };
            let is_voter = members.voter_ids().any(|voter| voter == id);
            (is_voter, behind)
        };
        if is_voter {
            return Ok(());
        }
        if behind > CLOSE {
            return Err(Error::Behind {
                id,
                entries: behind,
            });
        }
        change(&raft, Change::AddVoterIds(BTreeSet::from([id]))).await
    }

    /// Lets members go; this one may be among them.
    ///
    /// # Errors
    /// When nobody would be left, this is not the leader, or there is no majority.
    pub async fn remove(&self, ids: &[MemberId]) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let raft = self.raft().await?;
        let (voters, learners) = {
            let metrics = raft.metrics();
            let seen = metrics.borrow();
            let members = seen.membership_config.membership();
            let all_voters: BTreeSet<_> = members.voter_ids().collect();
            let known = ids.iter().filter(|id| members.get_node(id).is_some());
            known
                .copied()
                .partition::<BTreeSet<_>, _>(|id| all_voters.contains(id))
        };
        if voters.is_empty() && learners.is_empty() {
            return confirmed(&raft).await;
        }
        if !learners.is_empty() {
            change(&raft, Change::RemoveNodes(learners)).await?;
        }
        if !voters.is_empty() {
            change(&raft, Change::RemoveVoters(voters)).await?;
        }
        Ok(())
    }

    async fn raft(&self) -> Result<Raft, Error> {
        let running = self.running.read().await;
        let running = running.as_ref();
        running
            .map(|running| running.raft.clone())
            .ok_or_else(|| Error::NotAMember("this coordinator is in no cluster".to_owned()))
    }
}

/// Sees to it that everybody can read what a newcomer says of itself, in whatever it is wrapped on the way: readers
/// of JSON go down so many levels and no further, and an entry that a member cannot read ends it.
fn readable(member: &Member) -> Result<(), Error> {
    let written = serde_json::to_string(member).map_err(|error| error.to_string());
    let read = written.and_then(|text| {
        let wrapped = format!("{}{text}{}", "[".repeat(WRAPPED), "]".repeat(WRAPPED));
        serde_json::from_str::<serde_json::Value>(&wrapped).map_err(|error| error.to_string())
    });
    read.map(drop)
        .map_err(|error| Invalid::new("member", error).into())
}

fn unknown(id: MemberId) -> Error {
    Error::NotAMember(format!("{id} is no member of this cluster"))
}

/// Sees to it that what this member knows of the others is not old.
async fn confirmed(raft: &Raft) -> Result<(), Error> {
    super::confirm::round(raft).await
}

async fn change(raft: &Raft, change: Change) -> Result<(), Error> {
    // Voters that go are not kept as learners.
    let retain = !matches!(change, ChangeMembers::RemoveVoters(_));
    let agreed = tokio::time::timeout(PATIENCE, raft.change_membership(change, retain)).await;
    let refused = match agreed {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(RaftError::Fatal(fatal))) => return Err(died(&fatal)),
        Ok(Err(RaftError::APIError(refused))) => refused,
        Err(_) => {
            return Err(Error::NoQuorum(
                "whether the change of the members comes to pass is not known".to_owned(),
            ));
        }
    };
    Err(match refused {
        ClientWriteError::ForwardToLeader(to) => Error::NotLeader {
            leader: to.leader_node.map(Box::new),
        },
        ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => {
            Error::Changing
        }
        ClientWriteError::ChangeMembershipError(ChangeMembershipError::EmptyMembership(_)) => {
            Error::NotAMember("the last voter of a cluster cannot go".to_owned())
        }
        ClientWriteError::ChangeMembershipError(ChangeMembershipError::LearnerNotFound(who)) => {
            unknown(who.node_id)
        }
    })
}
