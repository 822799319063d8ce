//! Where a member stands, for whoever decides by it or shows it.

use std::collections::BTreeMap;

use super::{ClusterId, Member, MemberId};

/// The term in which a founder leads for the first time: nobody can have led the cluster before.
pub const FIRST_TERM: u64 = 2;

/// What a member is just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// In no cluster: it writes by itself.
    Lone,
    /// Its own store is empty and it waits to be taken into a cluster.
    Waiting,
    /// Follows, and has no vote.
    Learner,
    /// Follows, and votes.
    Follower,
    /// Asks to be the leader.
    Candidate,
    /// Decides what comes next in the log. Whether it still does is what
    /// [`Cluster::confirm`](super::Cluster::confirm) finds out.
    Leader,
}

impl Role {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lone => "lone",
            Self::Waiting => "waiting",
            Self::Learner => "learner",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        }
    }
}

/// A look at the cluster from one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Who looks.
    pub id: MemberId,
    /// Its cluster, when it is in one.
    pub cluster: Option<ClusterId>,
    /// What it is in it.
    pub role: Role,
    /// The highest term it knows of.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<MemberId>,
    /// Everybody, and whether they vote.
    pub members: BTreeMap<MemberId, (Member, bool)>,
    /// The index of the last entry in its log.
    pub last_log: u64,
    /// The index of the last entry in its state.
    pub applied: u64,
    /// On the leader: how many entries each other member is behind.
    pub lag: BTreeMap<MemberId, u64>,
}

impl Status {
    /// Returns that of a member of no cluster.
    pub(super) fn lone(id: MemberId) -> Self {
        Self {
            id,
            cluster: None,
            role: Role::Lone,
            term: 0,
            leader: None,
            members: BTreeMap::new(),
            last_log: 0,
            applied: 0,
            lag: BTreeMap::new(),
        }
    }

    /// Returns the leader and what is known of it.
    pub fn leading(&self) -> Option<(MemberId, &Member)> {
        let leader = self.leader?;
        let (member, _) = self.members.get(&leader)?;
        Some((leader, member))
    }

    /// Returns a member that cannot read what came with protocol `since`, if there is any.
    pub fn unread_by(&self, since: u32) -> Option<&Member> {
        let mut members = self.members.values();
        members.find_map(|(member, _)| (member.protocol < since).then_some(member))
    }

    /// Returns those who vote.
    pub fn voters(&self) -> impl Iterator<Item = MemberId> {
        let votes = |(id, (_, voter)): (&MemberId, &(Member, bool))| voter.then_some(*id);
        self.members.iter().filter_map(votes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_member_cannot_read_is_not_for_the_log() {
        let mut status = Status::lone(MemberId::random());
        assert_eq!(
            status.unread_by(7),
            None,
            "alone there is nobody else to read it"
        );
        for (number, protocol) in [(1, 3), (2, 2), (3, 3)] {
            let member = Member {
                name: format!("m{number}"),
                protocol,
                ..Member::default()
            };
            status
                .members
                .insert(MemberId::from(number), (member, number > 1));
        }
        let name = |since| status.unread_by(since).map(|member| member.name.as_str());
        assert_eq!([name(1), name(2), name(3)], [None, None, Some("m2")]);
    }
}
