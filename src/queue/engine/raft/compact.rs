//! Keeps the log short: as long as a slow member may need it, but no longer.

use std::time::Duration;

use super::log::Log;
use super::types::Raft;

/// How many entries stay for members that are behind, and after how many new ones the older may go, unless
/// the queue's options say otherwise. Few in tests, which would take long otherwise.
pub const KEPT_ENTRIES: u64 = if cfg!(test) { 40 } else { 4_000 };

/// After this many bytes of new entries the older ones may go, however few they are.
pub const EVERY_BYTES: u64 = if cfg!(test) { 256 << 10 } else { 16 << 20 };

/// How many bytes of entries stay at most for members that are behind.
pub const KEPT_BYTES: u64 = if cfg!(test) { 512 << 10 } else { 32 << 20 };

/// Returns how many entries go at once at least, of a log that keeps `entries`.
const fn step(entries: u64) -> u64 {
    1 + entries / 16
}

/// How often it is looked at at most.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 500 });

/// Works until the engine ends; after `entries` new entries the older ones may go.
pub async fn run(raft: Raft, log: Log, entries: u64) {
    let mut metrics = raft.metrics();
    // Where the log ended, in bytes, when it was shortened last.
    let mut stayed = log.bytes();
    loop {
        if metrics.changed().await.is_err() {
            return;
        }
        let (applied, snapshot, purged) = {
            let seen = metrics.borrow_and_update();
            let index = |id: &Option<super::types::LogId>| id.map_or(0, |id| id.index);
            let purged = index(&seen.purged);
            (index(&seen.last_applied), index(&seen.snapshot), purged)
        };
        let bytes = log.bytes();
        stayed = stayed.min(bytes);
        let is_long = applied.saturating_sub(snapshot) >= entries;
        let is_heavy = bytes - stayed >= EVERY_BYTES && applied > snapshot;
        if !is_long && !is_heavy {
            continue;
        }
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
        // It is done when the metrics say so; what is in the log beyond it stays anyhow.
        let built = metrics.wait_for(|seen| {
            seen.running_state.is_err() || seen.snapshot.map_or(0, |id| id.index) > snapshot
        });
        let Ok(built) = built
            .await
            .map(|seen| seen.snapshot.map_or(0, |id| id.index))
        else {
            return;
        };
        let by_bytes = log.beyond(KEPT_BYTES).map_or(0, |beyond| beyond.min(built));
        let by_count = built.saturating_sub(entries);
        let is_worth_it = by_count >= purged + step(entries);
        let upto = by_bytes.max(if is_worth_it { by_count } else { 0 });
        if upto > purged && raft.trigger().purge_log(upto).await.is_err() {
            return;
        }
        stayed = log.bytes().min(KEPT_BYTES);
        tokio::time::sleep(PAUSE).await;
    }
}
