//! How the cluster of a single member begins, in the queue's file and in its log.

use openraft::Membership;
use serde::{Deserialize, Serialize};

use super::log::{note, to_note};
use super::types::{LogId, Members, Vote, place};
use super::{ClusterId, Member, MemberId};
use crate::queue::store::{Edit, Replica};

/// The beginning of a cluster: one member, and a log that is gone up to some entry.
#[derive(Serialize, Deserialize)]
pub struct Begin {
    /// The cluster.
    pub cluster: ClusterId,
    /// The one member.
    pub id: MemberId,
    /// Up to where the log is gone.
    pub upto: LogId,
    members: String,
    vote: Vote,
}

impl Begin {
    /// Returns that of a queue which never was in a cluster.
    pub fn first(id: MemberId, me: Member, cluster: ClusterId) -> Self {
        Self::after(id, me, cluster, (1, 1))
    }

    /// Returns that of a queue whose log was in this term and had this many entries.
    pub fn after(id: MemberId, me: Member, cluster: ClusterId, (term, index): (u64, u64)) -> Self {
        let upto = LogId::new(openraft::CommittedLeaderId::new(term, id), index);
        let only = Membership::new(
            vec![[id].into()],
            std::collections::BTreeMap::from([(id, me)]),
        );
        let members = Members::new(Some(upto), only);
        Self {
            cluster,
            id,
            upto,
            // Numbers and texts of ours: they have a form.
            members: serde_json::to_string(&members).unwrap_or_default(),
            vote: Vote::new(term, id),
        }
    }

    /// Returns what is noted in the queue's file.
    pub fn replica(&self, now: crate::support::clock::Timestamp) -> Replica {
        Replica {
            cluster: self.cluster.to_string(),
            applied: Some(place(&self.upto)),
            members: self.members.clone(),
            now,
        }
    }

    /// Returns what is noted in the log, in the place of all that it held.
    pub fn edits(&self) -> Vec<Edit> {
        vec![
            Edit::CutFrom(0),
            to_note(note::MEMBER, &self.id),
            to_note(note::CLUSTER, &self.cluster),
            to_note(note::VOTE, &self.vote),
            to_note(note::COMMITTED, &self.upto),
            to_note(note::PURGED, &self.upto),
        ]
    }
}
