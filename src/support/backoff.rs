//! How long to wait before the next try.

use std::time::Duration;

use super::ids;

/// Doubles from `first` to `most`; each wait is drawn from half of it to all of it, so that hosts which
/// lost the same coordinator do not come back together.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Returns one that has not failed yet.
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// Forgets the failures.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }

    /// Returns how long to wait now; the next time is longer.
    pub fn next(&mut self) -> Duration {
        let span = self.next.mul_f64(0.5 + ids::fraction() / 2.0);
        self.next = (self.next * 2).min(self.most);
        span
    }

    /// Waits.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }
}

/// Returns `span`, up to a fifth shorter or longer.
pub fn jittered(span: Duration) -> Duration {
    span.mul_f64(0.8 + ids::fraction() * 0.4)
}
