//! How long to wait before the next try.

use std::time::Duration;

use crate::support::ids;

/// Doubles from `first` to `most`; each wait is drawn from half of it to all of it, so that hosts which
/// lost the same coordinator do not come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) const fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// Forgets the failures.
    pub(super) const fn reset(&mut self) {
        self.next = self.first;
    }

    /// Waits.
    pub(super) async fn wait(&mut self) {
        let span = self.next.mul_f64(0.5 + ids::fraction() / 2.0);
        self.next = (self.next * 2).min(self.most);
        tokio::time::sleep(span).await;
    }
}

/// Returns `span`, up to a fifth shorter or longer.
pub(super) fn jittered(span: Duration) -> Duration {
    span.mul_f64(0.8 + ids::fraction() * 0.4)
}
