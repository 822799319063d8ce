//! Says that this host lives, renews its leases, and hears of cancels.

use std::time::Duration;

use tokio::time::Instant;

use super::core::Core;
use super::facts;
use crate::client::holder::Session;
use crate::protocol::api::{Facts, Heartbeat};

/// How often facts about the machine go along.
const FACTS_EVERY: Duration = Duration::from_secs(60);
/// What is worth a warning when two clocks are compared, in milliseconds.
const CLOCK_OFF: i64 = 2000;

/// Sends heartbeats as long as the daemon runs.
pub(super) async fn keep(core: &Core) {
    let mut facts_at = Instant::now() + FACTS_EVERY;
    let mut profile = core.profile.subscribe();
    let mut warned = false;
    let mut latency_ms = None;
    loop {
        let session = core.session().await;
        tokio::select! {
            () = tokio::time::sleep(interval(core, &session)) => {}
            () = core.beat.notified() => {}
            changed = profile.changed() => {
                if changed.is_err() {
                    return;
                }
                facts_at = Instant::now();
            }
        }
        let due = facts_at <= Instant::now();
        if due {
            facts_at = Instant::now() + FACTS_EVERY;
        }
        // It may have been forgotten while we slept.
        let session = core.session().await;
        let facts = due.then(|| Facts {
            latency_ms,
            ..facts::gather(&core.state.scratch(), core.profile.borrow().clone())
        });
        let Some(heard) = beat(core, &session, facts).await else {
            continue;
        };
        latency_ms = u32::try_from(heard.latency.as_millis()).ok();
        if let Some(offset) = heard.offset
            && !std::mem::replace(&mut warned, offset.abs() > CLOCK_OFF)
            && warned
        {
            tracing::warn!(offset_ms = offset, "this host's clock is off");
        }
    }
}

/// More often than the owner wants where leases are so short that they need it.
fn interval(core: &Core, session: &Session) -> Duration {
    session.renewal().map_or(core.settings.heartbeat, |needed| {
        core.settings.heartbeat.min(needed)
    })
}

/// What an answer tells besides its words.
struct Heard {
    /// How long it took.
    latency: Duration,
    /// How far our clock is ahead in milliseconds, if the coordinator tells its time.
    offset: Option<i64>,
}

/// Sends one. Returns nothing when no answer came.
async fn beat(core: &Core, session: &Session, facts: Option<Facts>) -> Option<Heard> {
    let leases = core.table.leases();
    let sent_at = core.steady.now();
    let sent_wall = core.wall.now();
    let request = Heartbeat {
        active_leases: Some(leases.len() as f64),
        leases: Some(leases),
        instance: Some(core.state.instance().clone()),
        blocked: core.block.borrow().why(),
        facts,
        now: Some(sent_wall),
    };
    let patience = session.heartbeat_patience();
    let begun = Instant::now();
    let sending = core
        .client
        .heartbeat_within(&session.host, &request, patience);
    match tokio::time::timeout(patience, sending).await {
        Ok(Ok(reply)) => {
            core.works();
            core.table.told(&reply.leases, sent_at);
            Some(Heard {
                latency: begun.elapsed(),
                offset: reply
                    .now
                    .map(|theirs| sent_wall.as_millis() - theirs.as_millis()),
            })
        }
        Ok(Err(error)) => {
            core.failed(&error);
            None
        }
        Err(_) => {
            tracing::warn!("no answer to a heartbeat within {patience:?}");
            None
        }
    }
}
