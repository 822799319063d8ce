//! The time that goes into commands: it never runs backwards nor stands still, whatever its clock does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::support::clock::{Clock, SteadyClock, Timestamp};

/// A clock that is behind by more than this was set back. It is not waited for: leases and delays would
/// last that much longer.
const SET_BACK: Duration = Duration::from_secs(1);

/// A clock, and the latest that it said.
pub struct Now {
    clock: Arc<dyn Clock>,
    /// Counts on when `clock` is set.
    steady: Arc<dyn Clock>,
    latest: Mutex<Latest>,
}

struct Latest {
    said: Timestamp,
    /// When that was, by the steady clock.
    at: Timestamp,
    /// The latest that somebody else said.
    told: Timestamp,
}

impl Now {
    /// Returns the time by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::beside(clock, Arc::new(SteadyClock::start()))
    }

    /// Returns the time by `clock`, which is never set.
    pub fn by(clock: Arc<dyn Clock>) -> Self {
        Self::beside(Arc::clone(&clock), clock)
    }

    fn beside(clock: Arc<dyn Clock>, steady: Arc<dyn Clock>) -> Self {
        let latest = Latest {
            said: Timestamp::from_millis(i64::MIN),
            at: steady.now(),
            told: Timestamp::from_millis(i64::MIN),
        };
        Self {
            clock,
            steady,
            latest: Mutex::new(latest),
        }
    }

    /// Returns the time, never earlier than it was returned before.
    pub fn get(&self) -> Timestamp {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let steady = self.steady.now();
        if now >= latest.said {
            latest.said = now;
            latest.at = steady;
        } else if latest.said.since(now) > SET_BACK {
            latest.said = latest.said.plus(steady.since(latest.at));
            latest.at = steady;
        }
        latest.said
    }

    /// Goes on from `at` if it is later: another leader's clock may have been ahead of this one, and
    /// what it did must not seem to lie in the future.
    pub fn not_before(&self, at: Timestamp) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.told = latest.told.max(at);
        if at > latest.said {
            latest.said = at;
            latest.at = self.steady.now();
        }
    }

    /// Returns the latest time that [`Self::not_before`] was told.
    pub fn told(&self) -> Timestamp {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::clock::ManualClock;

    #[test]
    fn a_clock_that_is_set_back_neither_stops_nor_turns_it() {
        let one = || Arc::new(ManualClock::at(Timestamp::from_millis(10_000_000)));
        let (clock, steady) = (one(), one());
        let now = Now::beside(clock.clone(), steady.clone());
        let start = now.get();
        clock.set(start.minus(Duration::from_millis(300)));
        assert_eq!(now.get(), start, "a small step is waited for");
        clock.set(start.minus(Duration::from_secs(3600)));
        assert_eq!(now.get(), start);
        let minute = Duration::from_secs(60);
        steady.advance(minute);
        clock.advance(minute);
        assert_eq!(now.get(), start.plus(minute));
        clock.set(start.plus(2 * minute));
        assert_eq!(now.get(), start.plus(2 * minute));
    }

    #[test]
    fn a_time_that_is_ahead_goes_on_from_there_and_does_not_stand_still() {
        let one = || Arc::new(ManualClock::at(Timestamp::from_millis(10_000_000)));
        let (clock, steady) = (one(), one());
        let now = Now::beside(clock.clone(), steady.clone());
        let hour = Duration::from_secs(3600);
        let ahead = now.get().plus(hour);
        now.not_before(ahead);
        assert_eq!(now.get(), ahead);
        let minute = Duration::from_secs(60);
        steady.advance(minute);
        clock.advance(minute);
        assert_eq!(now.get(), ahead.plus(minute));
        now.not_before(ahead);
        assert_eq!(now.get(), ahead.plus(minute));
    }
}
