//! The time that goes into commands: it never runs backwards, whatever its clock does.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::support::clock::{Clock, Timestamp};

/// A clock, and the latest that it said.
pub struct Now {
    clock: Arc<dyn Clock>,
    latest: AtomicI64,
}

impl Now {
    /// Returns the time by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            latest: AtomicI64::new(i64::MIN),
        }
    }

    /// Returns the time, never earlier than it was returned before.
    pub fn get(&self) -> Timestamp {
        let now = self.clock.now().as_millis();
        let before = self.latest.fetch_max(now, Ordering::Relaxed);
        Timestamp::from_millis(before.max(now))
    }
}
