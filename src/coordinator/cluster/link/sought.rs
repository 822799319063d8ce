//! Notices that a cluster looks for one of its members here while this coordinator runs alone: it lost its database, or
//! took the place of one that did. Callers that were told of both would find two queues, so its owner should hear of it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::hello::Introduction;
use super::marks::Proven;
use crate::queue::cluster::Role;

/// Whoever only invites this coordinator asks once. Whoever misses a member asks again and again, for longer than this.
const FOR: Duration = Duration::from_secs(8);
/// What comes so much later is a new beginning.
const GAP: Duration = Duration::from_secs(30);
/// How often it is said.
const SAID_EACH: Duration = Duration::from_secs(600);

/// Who asked lately.
#[derive(Debug, Default)]
pub struct Sought(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// When somebody asked for the first and the last time.
    between: Option<(Instant, Instant)>,
    said: Option<Instant>,
}

impl Sought {
    /// Takes note that `peer` came. Tells whether it is time for a word about it.
    pub fn by(&self, peer: &Proven, me: &Introduction) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if me.role != Role::Lone {
            *known = Known::default();
            return false;
        }
        if peer.cluster.is_none() {
            return false;
        }
        let now = Instant::now();
        let first = match known.between {
            Some((first, last)) if now.duration_since(last) < GAP => first,
            Some(_) | None => now,
        };
        known.between = Some((first, now));
        let again = known
            .said
            .is_none_or(|said| now.duration_since(said) >= SAID_EACH);
        let due = again && now.duration_since(first) >= FOR;
        if due {
            known.said = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::cluster::{ClusterId, MemberId};
    use crate::support::clock::Timestamp;

    fn me(role: Role) -> Introduction {
        Introduction {
            member: MemberId::random(),
            name: "me".to_owned(),
            protocol: 1,
            cluster: None,
            role,
            leader: None,
            url: None,
            peers: Vec::new(),
            now: Timestamp::from_millis(0),
        }
    }

    fn peer(cluster: Option<ClusterId>) -> Proven {
        Proven {
            member: MemberId::random(),
            name: "they".to_owned(),
            protocol: 1,
            cluster,
            address: [127, 0, 0, 1].into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_missed_by_a_cluster_hears_of_it_once() {
        let cluster = "00112233445566778899aabbccddeeff".parse().ok();
        let (member, newcomer) = (peer(cluster), peer(None));
        let (sought, alone) = (Sought::default(), me(Role::Lone));
        let mut said = 0;
        for _ in 0..20 {
            said += u32::from(sought.by(&member, &alone));
            assert!(!sought.by(&newcomer, &alone), "it is no member itself");
            tokio::time::advance(Duration::from_secs(5)).await;
        }
        assert_eq!(said, 1);
        let invited = Sought::default();
        assert!(!invited.by(&member, &alone));
        tokio::time::advance(GAP).await;
        assert!(!invited.by(&member, &alone), "twice is not all the time");
        tokio::time::advance(FOR).await;
        assert!(!invited.by(&member, &me(Role::Waiting)), "it joins");
    }
}
