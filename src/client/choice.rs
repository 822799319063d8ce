//! Which coordinator is asked first: the last one that answered, and after a while the first again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long another coordinator than the first is kept to.
pub const RETURN_AFTER: Duration = Duration::from_secs(300);

/// The choice, shared by all clones of a client.
#[derive(Debug)]
pub(super) struct Choice {
    len: usize,
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
    pub(super) fn new(len: usize, return_after: Duration) -> Self {
        Self {
            len,
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

    /// Returns the order in which to ask now: each coordinator once.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut state = self.state();
        let ring = (0..self.len).map(|step| (state.current + step) % self.len.max(1));
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_good_one_comes_first_until_it_is_time_to_return() {
        let choice = Choice::new(3, Duration::from_secs(300));
        assert_eq!(choice.order(), [0, 1, 2]);
        choice.worked(1);
        assert_eq!(choice.order(), [1, 2, 0]);
        let soon = Choice::new(3, Duration::ZERO);
        soon.worked(2);
        assert_eq!(soon.order(), [0, 2, 1], "the one that works comes second");
        soon.worked(0);
        assert_eq!(soon.order(), [0, 1, 2]);
    }
}
