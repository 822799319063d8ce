//! How many jobs wait, roughly: enough to refuse more before the disk is full of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Room;
use super::api::error::Refused;
use crate::protocol::api::Code;
use crate::queue::Idempotency;

/// How old a count may be that is used to refuse.
const FRESH: Duration = Duration::from_secs(1);

/// The last count, plus what was accepted since. What was taken since is not known, so this is too
/// high rather than too low, and is counted again before anybody is refused.
#[derive(Debug)]
pub struct Backlog {
    max: u64,
    estimate: AtomicU64,
    counted: Mutex<Option<Instant>>,
}

impl Backlog {
    /// Allows `max` waiting jobs, of which there are `now`.
    pub fn new(max: u64, now: u64) -> Self {
        Self {
            max,
            estimate: AtomicU64::new(now),
            counted: Mutex::new(None),
        }
    }
}

impl Room {
    /// Makes room for `jobs` more. A request with a key that has been accepted before needs none: it gets
    /// its answer again.
    ///
    /// # Errors
    /// When too many wait already.
    pub(super) async fn admit(
        &self,
        jobs: u64,
        key: impl FnOnce() -> Option<Idempotency>,
    ) -> Result<(), Refused> {
        let Err(refused) = self.make_room(jobs).await else {
            return Ok(());
        };
        let Some(key) = key() else {
            return Err(refused);
        };
        match self.queue.remembers(key).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(refused),
            Err(error) => Err(self.refuse(error)),
        }
    }

    async fn make_room(&self, jobs: u64) -> Result<(), Refused> {
        let backlog = &self.backlog;
        let before = backlog.estimate.fetch_add(jobs, Ordering::Relaxed);
        if before.saturating_add(jobs) <= backlog.max {
            return Ok(());
        }
        let mut counted = backlog.counted.lock().await;
        if counted.is_none_or(|at| at.elapsed() >= FRESH) {
            let counts = self
                .queue
                .counts()
                .await
                .map_err(|error| self.refuse(error))?;
            backlog
                .estimate
                .store(counts.queued.saturating_add(jobs), Ordering::Relaxed);
            *counted = Some(Instant::now());
        }
        if backlog.estimate.load(Ordering::Relaxed) <= backlog.max {
            return Ok(());
        }
        backlog.estimate.fetch_sub(jobs, Ordering::Relaxed);
        Err(Refused::new(
            Code::TooMany,
            format!("more than {} jobs wait already", backlog.max),
        )
        .retry_after(FRESH))
    }
}
