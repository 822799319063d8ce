//! Which coordinator is asked first: the last one that answered, and after a while the first again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long another coordinator than the first is kept to.
pub const RETURN_AFTER: Duration = Duration::from_secs(300);

/// The choice, shared by all clones of a client.
#[derive(Debug)]
pub(super) struct Choice {
    return_after: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    current: usize,
    /// Since when it is kept to, or when the first one was last tried in vain.
    since: Instant,
}

impl Choice {
    pub(super) fn new(return_after: Duration) -> Self {
        Self {
            return_after,
            state: Mutex::new(State {
                current: 0,
                since: Instant::now(),
            }),
        }
    }

    /// Returns the number of the coordinator that last answered.
    pub(super) fn current(&self) -> usize {
        self.state().current
    }

    /// Returns the order in which to ask `len` coordinators now: each once.
    pub(super) fn order(&self, len: usize) -> Vec<usize> {
        let mut state = self.state();
        let ring = (0..len).map(|step| (state.current + step) % len.max(1));
        if state.current == 0 || state.since.elapsed() < self.return_after {
            return ring.collect();
        }
        // If the first one is still away, this is not tried with every request.
        let order = std::iter::once(0)
            .chain(ring.filter(|index| *index != 0))
            .collect();
        state.since = Instant::now();
        order
    }

    /// Takes note that this one answered.
    pub(super) fn worked(&self, index: usize) {
        let mut state = self.state();
        if state.current != index {
            *state = State {
                current: index,
                since: Instant::now(),
            };
        }
    }

    /// Takes note that the one that last answered has this number from now on; it is the same one.
    pub(super) fn renumbered(&self, index: usize) {
        self.state().current = index;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_good_one_comes_first_until_it_is_time_to_return() {
        let choice = Choice::new(Duration::from_secs(300));
        assert_eq!(choice.order(3), [0, 1, 2]);
        choice.worked(1);
        assert_eq!(choice.order(3), [1, 2, 0]);
        assert_eq!(choice.order(4), [1, 2, 3, 0], "one more is known");
        let soon = Choice::new(Duration::ZERO);
        soon.worked(2);
        assert_eq!(soon.order(3), [0, 2, 1], "the one that works comes second");
        soon.worked(0);
        assert_eq!(soon.order(3), [0, 1, 2]);
    }
}
