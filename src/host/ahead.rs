//! Jobs at hand: claimed while all slots are busy with short ones, and given back if they do not begin soon.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::begin;
use super::core::Core;
use crate::client::holder::key;

/// How long results may wait for company while there is work at hand.
const GATHER: Duration = Duration::from_millis(10);
/// How long the coordinator may take to hear what it gets back. What it does not hear, the next heartbeat shows it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Gives back what does not begin soon, as long as the daemon runs.
pub(super) async fn keep(core: &Arc<Core>) {
    let mut block = core.block.subscribe();
    // Elsewhere it might begin.
    let patience = core.pace.patience();
    loop {
        let oldest = core.runner.oldest();
        let due = oldest.and_then(|since| Instant::from_std(since).checked_add(patience));
        tokio::select! {
            () = core.held.notified(), if oldest.is_none() => {}
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let oldest = core.runner.oldest();
                if oldest.is_some_and(|since| since.elapsed() >= patience) {
                    core.pace.slow();
                    hand_back(core).await;
                }
            }
            changed = block.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
        if !core.takes_work() {
            hand_back(core).await;
        }
    }
}

/// Gives back all that has not begun.
pub(super) async fn hand_back(core: &Core) {
    let leases = core.runner.clear();
    if leases.is_empty() {
        return;
    }
    for lease in &leases {
        core.logs.discard(*lease);
        core.table.remove(key(lease));
    }
    core.freed.notify_one();
    let Some(session) = core.session.borrow().clone() else {
        return;
    };
    let giving = begin::give_back(core, &session, leases, Duration::ZERO);
    let _ = timeout(PATIENCE, giving).await;
}

/// Waits until there is little at hand, but not long. Tells whether there was enough to wait.
pub(super) async fn gather(core: &Core) -> bool {
    if core.runs_low() {
        return false;
    }
    let low = async {
        while !core.runs_low() {
            core.low.notified().await;
        }
    };
    let _ = timeout(GATHER, low).await;
    true
}
