//! Whose turn it is among hosts that are equally loaded: who waited longest, and one of more weight more often.
//!
//! Each job that a host is given moves its next turn further away, by less if it has more weight (start-time fair
//! queueing). Nobody saves turns up: who comes late begins where the others are.

use std::collections::HashMap;

use crate::protocol::HostId;

/// How far a turn of weight 1 is from the next.
const STRIDE: u64 = 1 << 20;
/// Hosts that were given something lately are kept; beyond this many the others are looked for and dropped.
const KEPT: usize = 64;

/// The turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    now: u64,
    next: HashMap<HostId, u64>,
}

impl Turns {
    /// Returns the turn of a host that begins to wait.
    pub(super) fn of(&self, host: &HostId) -> u64 {
        self.next.get(host).copied().unwrap_or(0).max(self.now)
    }

    /// Takes note that a host of this weight was given so many `jobs` at its `turn`.
    pub(super) fn served(&mut self, (host, weight): (&HostId, u32), turn: u64, jobs: usize) {
        self.now = self.now.max(turn);
        if self.next.len() >= KEPT {
            let now = self.now;
            self.next.retain(|_, next| *next > now);
        }
        let jobs = u64::try_from(jobs).unwrap_or(u64::MAX);
        let way = STRIDE.saturating_mul(jobs) / u64::from(weight.max(1));
        let next = turn.saturating_add(way);
        self.next.insert(host.clone(), next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_three_times_the_weight_is_served_three_times_as_often() {
        let hosts = [("a", 3), ("b", 1)].map(|(name, weight)| (HostId::new(name).unwrap(), weight));
        let mut turns = Turns::default();
        let mut served = [0; 2];
        // Each comes back at once; of equals who came first.
        let mut since = [0, 1];
        for at in 2..42 {
            let next = (0..2)
                .min_by_key(|one| (turns.of(&hosts[*one].0), since[*one]))
                .unwrap();
            let (host, weight) = &hosts[next];
            turns.served((host, *weight), turns.of(host), 1);
            served[next] += 1;
            since[next] = at;
        }
        assert_eq!(served, [30, 10]);
        // Who comes late has missed nothing.
        assert_eq!(turns.of(&HostId::new("c").unwrap()), turns.now);
        for n in 0..1000 {
            let host = HostId::new(format!("h{n}")).unwrap();
            turns.served((&host, 1), turns.now + STRIDE, 1);
        }
        assert!(turns.next.len() <= KEPT + 1);
    }
}
