//! How long to wait before the next try.

use std::time::Duration;

use crate::support::ids;

/// Doubles from `first` to `most`; each wait is drawn from half of it to all of it, so that those who
/// lost the same machine do not come back together.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Returns one that has seen no failure.
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

    /// Counts a failure. Returns how long to wait now.
    pub fn after_failure(&mut self) -> Duration {
        self.after_failure_with(ids::fraction())
    }

    fn after_failure_with(&mut self, chance: f64) -> Duration {
        let span = self.next.mul_f64(0.5 + chance / 2.0);
        self.next = (self.next * 2).min(self.most);
        span
    }

    /// Waits.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.after_failure()).await;
    }
}

/// Returns `span`, up to a fifth shorter or longer.
pub fn jittered(span: Duration) -> Duration {
    span.mul_f64(0.8 + ids::fraction() * 0.4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_are_drawn_from_their_upper_half() {
        let millis = Duration::from_millis;
        let mut backoff = Backoff::new(millis(500), millis(3000));
        let waits: Vec<_> = (0..5).map(|_| backoff.after_failure_with(1.0)).collect();
        assert_eq!(waits, [500, 1000, 2000, 3000, 3000].map(millis));
        assert_eq!(backoff.after_failure_with(0.0), millis(1500));
        backoff.reset();
        assert_eq!(backoff.after_failure_with(0.0), millis(250));
    }
}
