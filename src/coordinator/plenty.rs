//! Whether so many jobs wait that a host may have some of them at hand before it can begin them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Room;

/// A host may have so many at hand for each job that it runs at once.
const PER_SLOT: u16 = 2;
/// So many must wait for each slot of all hosts that are there: then what one of them has at hand, none of the others
/// lacks.
const SHARE: u32 = 8;
/// But never more than this, because they are counted.
const ENOUGH: u32 = 10_000;
/// How old the last look may be. Hosts ask with each handful of results.
const FRESH: Duration = Duration::from_millis(20);

/// The last look: when it was, and whether there was plenty.
#[derive(Debug, Default)]
pub struct Plenty(Mutex<Option<(Instant, bool)>>);

impl Plenty {
    fn known(&self) -> Option<bool> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(at, _)| at.elapsed() < FRESH)
            .map(|(_, plenty)| plenty)
    }

    fn seen(&self, plenty: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), plenty));
    }
}

impl Room {
    /// Returns how many of the `asked` jobs a host with so many `slots` may have at hand now.
    pub(super) async fn ahead(&self, asked: u16, slots: u16) -> u16 {
        // Whoever waits for work could begin at once.
        if asked == 0 || self.waiting.any_idle() || !self.is_plenty().await {
            return 0;
        }
        asked.min(slots.saturating_mul(PER_SLOT))
    }

    async fn is_plenty(&self) -> bool {
        if let Some(plenty) = self.plenty.known() {
            return plenty;
        }
        let needed = self.presence.slots().saturating_mul(SHARE).min(ENOUGH);
        // Nobody is refused anything if it cannot be told.
        let plenty = self.queue.more_wait_than(needed).await.unwrap_or(false);
        self.plenty.seen(plenty);
        plenty
    }
}
