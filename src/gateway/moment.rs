//! Points in time that fit into one atomic: milliseconds since this process first asked.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A point in time of this process. It never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// Before everything else; what is due then is over.
    pub const START: Self = Self(0);

    /// Returns the time now.
    pub fn now() -> Self {
        static START: OnceLock<Instant> = OnceLock::new();
        let start = START.get_or_init(Instant::now);
        // Never the start itself, which stands for "not at all" in atomics.
        Self(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1)
    }

    /// Returns the point `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// Returns it as a number that [`Moment::from_millis`] takes back.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Returns the point that [`Moment::millis`] made a number of.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }
}
