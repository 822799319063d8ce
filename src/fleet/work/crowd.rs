//! A host that opens no more sessions, because its server has a limit: less is asked for there, for a while.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::support::backoff::Backoff;

/// The first pause is half of this at least, and so on up to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// A host that has refused nothing for so long after a pause begins with the shortest again.
const CALM: Duration = Duration::from_secs(120);

/// What is known of it.
#[derive(Debug)]
pub(super) struct Crowd(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    backoff: Backoff,
    limit: Option<Limit>,
}

#[derive(Debug, Clone, Copy)]
struct Limit {
    until: Instant,
    most: usize,
}

impl Crowd {
    /// Returns one that has seen no refusal.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Inner {
            backoff: Backoff::new(PAUSES.0, PAUSES.1),
            limit: None,
        }))
    }

    /// Takes note that a session was refused while so many others ran. Returns how long not to try more.
    pub(super) fn refused(&self, running: usize) -> Duration {
        let now = Instant::now();
        let mut inner = self.inner();
        let (until, most) = match inner.limit {
            // Of those that came together each counts the others that are still to be refused.
            Some(limit) if now < limit.until => (limit.until, limit.most.min(running)),
            before => {
                if before.is_none_or(|limit| limit.until + CALM < now) {
                    inner.backoff.reset();
                }
                (now + inner.backoff.after_failure(), running)
            }
        };
        inner.limit = Some(Limit { until, most });
        until - now
    }

    /// Returns how many jobs to run at once where there are `slots`, and until when if that is not all of them.
    pub(super) fn most(&self, slots: usize) -> (usize, Option<Instant>) {
        match self.inner().limit {
            Some(limit) if Instant::now() < limit.until => {
                (limit.most.min(slots), Some(limit.until))
            }
            _ => (slots, None),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_that_refuses_is_asked_less_and_less_often() {
        let crowd = Crowd::new();
        assert_eq!(crowd.most(4), (4, None));
        let first = crowd.refused(3);
        assert!((5..=10).contains(&first.as_secs()), "{first:?}");
        assert_eq!(crowd.refused(2), first, "they came together");
        let until = Instant::now() + first;
        assert_eq!(crowd.most(4), (2, Some(until)));
        assert_eq!(crowd.most(1), (1, Some(until)));
        let mut pauses = vec![first];
        for _ in 0..6 {
            advance(pauses[pauses.len() - 1]).await;
            assert_eq!(crowd.most(4), (4, None));
            pauses.push(crowd.refused(2));
        }
        assert!(pauses[3] > pauses[0], "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= PAUSES.1), "{pauses:?}");
        advance(PAUSES.1 + CALM * 2).await;
        assert!(crowd.refused(2) <= PAUSES.0);
    }
}
