//! Renews leases and hears of cancels; says why a host takes no work. A host that waits for work in an open
//! request sends nothing.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::core::Core;
use crate::client::holder::{Holder, Session};
use crate::protocol::api::Heartbeat;
use crate::support::clock::Clock;

/// How often a host is heard of that holds leases, unless they are so short that they need more,
const HOLDING: Duration = Duration::from_secs(5);
/// and one that takes no work.
const BLOCKED: Duration = Duration::from_secs(10);

/// Sends heartbeats when there is something to say. Never returns.
pub(super) async fn keep(core: &Core) {
    let mut beaten_at = Instant::now();
    loop {
        let session = core.session().await;
        let due = interval(core, &session).map(|interval| beaten_at + interval);
        let timer = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            () = core.beat.notified() => {}
            () = core.held.notified() => {
                if due.is_none() {
                    beaten_at = Instant::now();
                }
                continue;
            }
        }
        // It may have been forgotten meanwhile.
        let session = core.session().await;
        beaten_at = Instant::now();
        beat(core, &session).await;
        let now = core.steady.now();
        for held in core.table.all() {
            if let Some(orders) = held.orders {
                orders.look(now);
            }
        }
    }
}

fn interval(core: &Core, session: &Session) -> Option<Duration> {
    if !core.table.is_empty() {
        let needed = session.renewal().unwrap_or(HOLDING);
        return Some(needed.min(HOLDING));
    }
    core.why_blocked().map(|_| BLOCKED)
}

async fn beat(core: &Core, session: &Session) {
    let leases = core.table.leases();
    let sent_at = core.steady.now();
    let request = Heartbeat {
        leases: Some(leases),
        instance: Some(core.means.instance.clone()),
        blocked: core.why_blocked(),
        ..Heartbeat::default()
    };
    let patience = session.heartbeat_patience();
    let sending = core.means.client.heartbeat(&session.host, &request);
    match tokio::time::timeout(patience, sending).await {
        Ok(Ok(reply)) => {
            core.works();
            core.table.told(&reply.leases, sent_at);
        }
        Ok(Err(error)) => core.failed(&error),
        Err(_) => {
            tracing::warn!(host = %core.name, "no answer to a heartbeat within {patience:?}")
        }
    }
}
