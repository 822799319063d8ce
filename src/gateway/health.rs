//! What is known of one endpoint's health, from probes and from the requests themselves. Pure state; who probes is
//! in `probe.rs`.
//!
//! Only what the endpoint did counts. What a caller did wrong must never take an endpoint out of rotation, or any
//! caller could.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::moment::Moment;

/// How many probes in a row must fail before an endpoint is down. One good one brings it back.
const FALL: u32 = 2;
/// How many failed answers in a row count as a failure: a single one may be the request's own.
const STRIKES: u32 = 3;

/// How a request to an endpoint came out, as far as that is the endpoint's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No connection could be made; nothing was sent.
    Unreachable,
    /// It said that it does nothing about the request. Over HTTP/2 it can, when it is full or about to end.
    Declined,
    /// The connection ended after something was sent and before there was an answer, or the answer broke off.
    Broken,
    /// There was no answer in time.
    Silent,
    /// It answered with this status, from the first byte to the last if that is no failure.
    Answered(u16),
    /// The caller went away or sent something that cannot be passed on. Says nothing of the endpoint.
    CallersDoing,
}

impl Outcome {
    /// Tells whether an answer with this status is a failure of the server's. That it does not know the method or the
    /// version is what the caller asked for.
    pub const fn failed_with(status: u16) -> bool {
        status >= 500 && !matches!(status, 501 | 505)
    }

    /// Tells whether it is nothing that the endpoint did wrong.
    pub const fn is_fine(self) -> bool {
        match self {
            Self::CallersDoing => true,
            Self::Answered(status) => !Self::failed_with(status),
            Self::Unreachable | Self::Declined | Self::Broken | Self::Silent => false,
        }
    }
}

/// How an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As far as is known it is well.
    Up,
    /// Requests failed a short while ago.
    Cooling,
    /// It could not be connected to a short while ago: whatever is sent there now is lost.
    Unreachable,
    /// Its probes fail.
    Down,
}

/// One endpoint's health.
#[derive(Debug, Default)]
pub struct Health {
    failed_probes: AtomicU32,
    strikes: AtomicU32,
    /// Until when it is left alone; 0 if not at all.
    cools_until: AtomicU64,
    unreachable: AtomicBool,
}

impl Health {
    /// Returns how it does.
    pub fn state(&self, now: Moment) -> State {
        let until = self.cools_until.load(Ordering::Relaxed);
        if until != 0 && now < Moment::from_millis(until) {
            return match self.unreachable.load(Ordering::Relaxed) {
                true => State::Unreachable,
                false => State::Cooling,
            };
        }
        match self.failed_probes.load(Ordering::Relaxed) {
            FALL.. => State::Down,
            _ => State::Up,
        }
    }

    /// Takes note of a probe. Returns whether it changed anything.
    pub fn probed(&self, well: bool) -> bool {
        if well {
            return self.failed_probes.swap(0, Ordering::Relaxed) >= FALL;
        }
        // Not beyond: it must not run over after years.
        let before = self.failed_probes.fetch_add(1, Ordering::Relaxed);
        self.failed_probes.fetch_min(FALL, Ordering::Relaxed);
        before + 1 == FALL
    }

    /// Takes note of how a request came out. Returns whether the endpoint is left alone from now on for `cooldown`.
    pub fn noted(&self, outcome: Outcome, now: Moment, cooldown: Duration) -> bool {
        match outcome {
            Outcome::CallersDoing => false,
            Outcome::Answered(status) if !Outcome::failed_with(status) => {
                // Read first: the line is shared by all cores and nearly always clean.
                if self.strikes.load(Ordering::Relaxed) != 0 {
                    self.strikes.store(0, Ordering::Relaxed);
                }
                false
            }
            Outcome::Unreachable => {
                self.leave_alone(now, cooldown, true);
                true
            }
            Outcome::Declined | Outcome::Broken | Outcome::Silent | Outcome::Answered(_) => {
                if self.strikes.fetch_add(1, Ordering::Relaxed) + 1 < STRIKES {
                    return false;
                }
                self.leave_alone(now, cooldown, false);
                true
            }
        }
    }

    fn leave_alone(&self, now: Moment, cooldown: Duration, unreachable: bool) {
        self.strikes.store(0, Ordering::Relaxed);
        self.unreachable.store(unreachable, Ordering::Relaxed);
        self.cools_until
            .store(now.plus(cooldown).millis(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(10);

    #[test]
    fn two_failed_probes_take_it_out_and_one_good_one_brings_it_back() {
        let health = Health::default();
        let now = Moment::START;
        assert!(!health.probed(false));
        assert_eq!(health.state(now), State::Up);
        assert!(health.probed(false), "a change");
        assert!(!health.probed(false), "no change");
        assert_eq!(health.state(now), State::Down);
        assert!(health.probed(true));
        assert_eq!(health.state(now), State::Up);
        assert!(!health.probed(true));
        health.probed(false);
        health.probed(true);
        health.probed(false);
        assert_eq!(health.state(now), State::Up, "not in a row");
    }

    #[test]
    fn no_connection_takes_it_out_at_once_and_for_a_while_only() {
        let health = Health::default();
        let now = Moment::from_millis(5);
        assert!(health.noted(Outcome::Unreachable, now, COOLDOWN));
        assert_eq!(health.state(now), State::Unreachable);
        let almost = now.plus(COOLDOWN - Duration::from_millis(1));
        assert_eq!(health.state(almost), State::Unreachable);
        assert_eq!(health.state(now.plus(COOLDOWN)), State::Up);
    }

    #[test]
    fn failed_answers_count_in_a_row_and_callers_mistakes_never() {
        let health = Health::default();
        let now = Moment::from_millis(5);
        let note = |outcome| health.noted(outcome, now, COOLDOWN);
        for _ in 0..10 {
            for outcome in [
                Outcome::Answered(500),
                Outcome::Answered(503),
                Outcome::Answered(404),
                Outcome::Answered(501),
            ] {
                assert!(!note(outcome));
            }
        }
        for _ in 0..10 {
            assert!(!note(Outcome::CallersDoing));
            assert!(!note(Outcome::Answered(501)) && !note(Outcome::Answered(505)));
        }
        assert_eq!(health.state(now), State::Up);
        assert!(!note(Outcome::Answered(500)));
        assert!(!note(Outcome::CallersDoing), "neither good nor bad");
        assert!(!note(Outcome::Broken));
        assert!(note(Outcome::Silent), "the third in a row");
        assert_eq!(health.state(now), State::Cooling);
        assert!(!note(Outcome::Answered(500)), "it begins anew");
    }
}
