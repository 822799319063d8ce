//! Turns what openraft tells of itself into our own words, and sees when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;

use super::fault::Fault;
use super::state::OwnCluster;
use super::types::Raft;
use super::{Member, MemberId, Role, Status};

/// Keeps `status` up to date until the engine ends. Whether it was asked to is in `stopping`. A leader that no
/// majority has answered for `alone_for`, or that is stepping `back`, is called a candidate: the others may have another one by then.
pub async fn run(
    raft: Raft,
    (cluster, alone_for): (OwnCluster, Duration),
    status: watch::Sender<Status>,
    fault: Fault,
    (stopping, mut back): (watch::Receiver<bool>, watch::Receiver<bool>),
) {
    let mut metrics = raft.metrics();
    loop {
        let seen = metrics.borrow_and_update().clone();
        if let Err(fatal) = &seen.running_state {
            if !*stopping.borrow() {
                fault.report(fatal.to_string());
            }
            return;
        }
        let is_back = *back.borrow_and_update();
        let now = told(&seen, &cluster, alone_for, is_back);
        // Before it has read its log openraft knows of nobody: nothing to tell of one that does belong to a cluster.
        let is_reading = now.members.is_empty() && now.cluster.is_some();
        status.send_if_modified(|before| {
            let is_news = *before != now && !is_reading;
            if is_news {
                note_role(before, &now);
                *before = now;
            }
            is_news
        });
        let changed = tokio::select! {
            changed = metrics.changed() => changed,
            // Who could say so lives as long as the engine.
            Ok(()) = back.changed() => Ok(()),
        };
        if changed.is_err() {
            if !*stopping.borrow() {
                fault.report("the consensus between the members panicked".to_owned());
            }
            return;
        }
    }
}

fn note_role(before: &Status, now: &Status) {
    if before.role != now.role || before.leader != now.leader {
        tracing::info!(
            member = %now.id,
            role = now.role.as_str(),
            term = now.term,
            leader = now.leader.map(tracing::field::display),
            "the place in the cluster changed"
        );
    }
}

fn told(
    seen: &RaftMetrics<MemberId, Member>,
    cluster: &OwnCluster,
    alone_for: Duration,
    is_back: bool,
) -> Status {
    let members = seen.membership_config.membership();
    let voters: BTreeSet<_> = members.voter_ids().collect();
    let everybody: BTreeMap<_, _> = members
        .nodes()
        .map(|(id, member)| (*id, (member.clone(), voters.contains(id))))
        .collect();
    let silent_for = seen.millis_since_quorum_ack.map(Duration::from_millis);
    let is_cut_off = seen.state == ServerState::Leader
        && voters.len() > 1
        && (is_back || silent_for.is_some_and(|span| span > alone_for));
    let role = match seen.state {
        _ if everybody.is_empty() => Role::Waiting,
        _ if is_cut_off => Role::Candidate,
        ServerState::Leader => Role::Leader,
        ServerState::Candidate => Role::Candidate,
        ServerState::Follower => Role::Follower,
        ServerState::Learner | ServerState::Shutdown => Role::Learner,
    };
    let last_log = seen.last_log_index.unwrap_or(0);
    let lag = seen.replication.iter().flatten();
    let lag = lag.filter(|(id, _)| **id != seen.id).map(|(id, matched)| {
        let matched = matched.map_or(0, |at| at.index);
        (*id, last_log.saturating_sub(matched))
    });
    Status {
        id: seen.id,
        cluster: cluster.get(),
        role,
        term: seen.current_term,
        leader: seen.current_leader.filter(|_| !is_cut_off),
        last_log,
        applied: seen.last_applied.map_or(0, |at| at.index),
        lag: lag.collect(),
        members: everybody,
    }
}
