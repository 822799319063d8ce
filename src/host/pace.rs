//! Whether jobs are so short here that some should be at hand before a slot is free.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Of so many jobs the average is made.
const WEIGHT: u64 = 8;
/// What takes so many times what is short is not told apart: more than [`WEIGHT`], so that one of them ends it.
const LONG: u32 = 10;

/// How long jobs take.
#[derive(Debug)]
pub(super) struct Pace {
    /// In microseconds.
    mean: AtomicU64,
    short: Duration,
}

impl Pace {
    /// Knows nothing yet. Jobs that take less than `short` on the average are short.
    pub(super) fn new(short: Duration) -> Self {
        let pace = Self {
            mean: AtomicU64::new(0),
            short,
        };
        pace.slow();
        pace
    }

    /// Takes note of how long a job took.
    pub(super) fn ended(&self, took: Duration) {
        let mean = self.mean.load(Ordering::Relaxed);
        let took = micros(took).min(self.long());
        // Two slots at once may lose one of their notes: it is an average.
        let mean = (mean * (WEIGHT - 1) + took) / WEIGHT;
        self.mean.store(mean, Ordering::Relaxed);
    }

    /// Takes note that jobs are not short any more, or should not wait.
    pub(super) fn slow(&self) {
        self.mean.store(self.long(), Ordering::Relaxed);
    }

    /// Tells whether jobs are short.
    pub(super) fn is_short(&self) -> bool {
        self.mean.load(Ordering::Relaxed) < micros(self.short)
    }

    /// Returns how long a job may be at hand. With two for each slot they wait for two short ones.
    pub(super) fn patience(&self) -> Duration {
        self.short.saturating_mul(5) / 2
    }

    fn long(&self) -> u64 {
        micros(self.short.saturating_mul(LONG)).min(u64::MAX / WEIGHT)
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_after_many_short_ones_and_not_after_one_long_one() {
        let pace = Pace::new(Duration::from_millis(20));
        let mut jobs = 0;
        while !pace.is_short() {
            pace.ended(Duration::from_millis(2));
            jobs += 1;
        }
        assert!((10..30).contains(&jobs), "{jobs}");
        pace.ended(Duration::from_secs(3600));
        assert!(!pace.is_short());
        for _ in 0..50 {
            pace.ended(Duration::ZERO);
        }
        assert!(pace.is_short());
        pace.slow();
        assert!(!pace.is_short());
    }

    #[test]
    fn nothing_is_short_for_who_wants_nothing_ahead() {
        for short in [Duration::ZERO, Duration::MAX] {
            let pace = Pace::new(short);
            for _ in 0..1000 {
                pace.ended(Duration::ZERO);
            }
            assert_eq!(pace.is_short(), !short.is_zero());
        }
    }
}
