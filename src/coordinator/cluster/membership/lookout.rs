//! What the leader sees of the other members, beside the log: who answers, how its clock goes, for how long it lacks what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::trail::Trail;
use crate::coordinator::cluster::Hello;
use crate::queue::cluster::{ClusterId, MemberId, Role, Status};
use crate::support::clock::Timestamp;

/// From here on a difference between two clocks is worth a word.
pub const CLOCK_OFF: Duration = Duration::from_secs(10);

/// What is seen of the others.
#[derive(Debug, Default)]
pub struct Lookout(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    trail: Trail,
    members: BTreeMap<MemberId, Look>,
    /// Whose clocks were warned of.
    warned: BTreeSet<MemberId>,
}

/// What is known of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Whether it answered the last time.
    pub reachable: bool,
    /// How far its clock is ahead of this one's, in milliseconds.
    pub clock_offset_ms: Option<i64>,
}

impl Lookout {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of how long the log is now.
    pub fn log_ends(&self, last: u64, now: Instant) {
        self.seen().trail.note(last, now);
    }

    /// Returns for how long somebody `lag` entries behind has lacked the first of them.
    pub fn behind(&self, status: &Status, lag: u64, now: Instant) -> Duration {
        let has = status.last_log.saturating_sub(lag);
        self.seen().trail.behind(has, now)
    }

    /// Takes note of what was found at a member's address: its answer, or why there is none. Warns once of a clock that
    /// is far off, and once more when it is right again.
    pub fn looked(&self, id: MemberId, name: &str, answer: &Result<Hello, String>, now: Timestamp) {
        let mut seen = self.seen();
        let before = seen.members.get(&id).cloned();
        let look = match answer {
            Ok(hello) => {
                let offset = offset(now, hello.took, hello.who.now);
                let off = offset.unsigned_abs() > CLOCK_OFF.as_millis() as u64;
                if off && seen.warned.insert(id) {
                    tracing::warn!(
                        member = name,
                        offset_ms = offset,
                        "the clock of another coordinator differs by more than 10 s: times in records will jump when the leader changes"
                    );
                } else if !off && seen.warned.remove(&id) {
                    tracing::info!(
                        member = name,
                        offset_ms = offset,
                        "the clock of another coordinator is right again"
                    );
                }
                Look {
                    reachable: true,
                    clock_offset_ms: Some(offset),
                }
            }
            Err(_) => Look {
                reachable: false,
                ..before.clone().unwrap_or(Look {
                    reachable: false,
                    clock_offset_ms: None,
                })
            },
        };
        let was = before.as_ref().map(|before| before.reachable);
        match (was, look.reachable) {
            (Some(true) | None, false) => {
                let why = answer.as_ref().err().map_or("", String::as_str);
                tracing::warn!(member = name, why, "another coordinator does not answer");
            }
            (Some(false), true) => {
                tracing::info!(member = name, "another coordinator answers again")
            }
            (Some(true) | None, true) | (Some(false), false) => {}
        }
        seen.members.insert(id, look);
    }

    /// Returns what is known of a member.
    pub fn of(&self, id: MemberId) -> Option<Look> {
        self.seen().members.get(&id).cloned()
    }

    /// Forgets whoever is no member any more.
    pub fn keep(&self, status: &Status) {
        let mut seen = self.seen();
        seen.members.retain(|id, _| status.members.contains_key(id));
        seen.warned.retain(|id| status.members.contains_key(id));
    }

    /// Forgets all: somebody else looks out now.
    pub fn clear(&self) {
        *self.seen() = Seen::default();
    }
}

/// Returns why whoever said this at the address of member `id` is not that member of the cluster `own`; nothing if it is.
pub fn stranger(id: MemberId, own: Option<ClusterId>, hello: &Hello) -> Option<String> {
    let who = &hello.who;
    if who.member == id {
        // One that was just taken in knows of no cluster yet.
        let elsewhere = who.cluster.is_some() && who.cluster != own;
        return elsewhere.then(|| {
            "it belongs to another cluster now, as after `skyclaw peer remove --force-new-cluster`: \
             remove it here, or wipe it so that it joins anew"
                .to_owned()
        });
    }
    Some(match who.role {
        Role::Lone => format!(
            "{} answers at its address and serves a queue of its own, as after a start with an empty database and \
             without SKYCLAW_PEER_URLS: whoever asks there gets that queue. Stop it, move its database away and \
             start it with SKYCLAW_PEER_URLS",
            who.name
        ),
        Role::Waiting => format!("{} answers at its address and waits to join", who.name),
        Role::Learner | Role::Follower | Role::Candidate | Role::Leader => {
            format!("another coordinator, {}, answers at its address", who.name)
        }
    })
}

/// Returns how far a clock is ahead that showed `theirs` some time within the `took` before `now`.
fn offset(now: Timestamp, took: Duration, theirs: Timestamp) -> i64 {
    let half = i64::try_from(took.as_millis() / 2).unwrap_or(0);
    theirs.as_millis() - (now.as_millis() - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_way_is_no_difference() {
        let at = Timestamp::from_millis;
        let took = Duration::from_millis(100);
        assert_eq!(offset(at(1100), took, at(1050)), 0);
        assert_eq!(offset(at(1100), took, at(13_050)), 12_000);
        assert_eq!(offset(at(1100), took, at(50)), -1000);
    }
}
