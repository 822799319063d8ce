//! What the leader sees of the other members, beside the log: who answers, how its clock goes, for how long it lacks what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::trail::Trail;
use crate::coordinator::cluster::{Hello, LinkError};
use crate::queue::cluster::{MemberId, Status};
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

    /// Takes note of what a member answered, or that it did not. Warns once of a clock that is far off, and once more when it is
    /// right again.
    pub fn looked(
        &self,
        id: MemberId,
        name: &str,
        answer: &Result<Hello, LinkError>,
        now: Timestamp,
    ) {
        let mut seen = self.seen();
        let before = seen.members.get(&id).cloned();
        let look = match answer {
            Ok(hello) if hello.who.member == id => {
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
            Ok(_) | Err(_) => Look {
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
                let why = answer.as_ref().err().map(ToString::to_string);
                tracing::warn!(
                    member = name,
                    why = why.unwrap_or_default(),
                    "another coordinator does not answer"
                );
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
