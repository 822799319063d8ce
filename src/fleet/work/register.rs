//! Introduces the host to the coordinator, again whenever the coordinator has forgotten it or it has changed.

use std::time::Duration;

use super::core::Core;
use super::look::Seen;
use crate::client::holder::{Holder, Session};
use crate::protocol::api::Register;
use crate::support::backoff::Backoff;
use crate::support::clock::Clock;

/// Keeps the host registered as long as it is to be. Never returns.
pub(super) async fn keep(core: &Core) {
    let mut sessions = core.sessions();
    let mut known = core.known.subscribe();
    let mut settings = core.settings();
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let agreed = sessions.borrow_and_update().is_some();
        let seen = known.borrow_and_update().clone();
        match seen {
            Some(seen) if !agreed => match register(core, seen).await {
                Ok(session) => {
                    backoff.reset();
                    core.agreed(Some(session));
                    core.beat.notify_one();
                }
                Err(error) => {
                    core.failed(&error);
                    backoff.wait().await;
                }
            },
            Some(_) | None => {
                tokio::select! {
                    changed = sessions.changed() => if changed.is_err() { return; },
                    changed = known.changed() => if changed.is_err() { return; },
                    changed = settings.changed() => match changed {
                        Ok(()) => core.changed(),
                        Err(_) => return,
                    },
                }
            }
        }
    }
}

async fn register(core: &Core, seen: Seen) -> Result<Session, crate::client::Error> {
    let sent_at = core.steady.now();
    let host = core.host();
    let request = Register {
        name: core.name.to_string(),
        host_id: Some(core.id.clone()),
        capabilities: Some(seen.capabilities),
        max_parallel: Some(core.slots()),
        weight: Some(host.weight),
        labels: host.labels.clone(),
        instance: Some(core.means.instance.clone()),
        leases: Some(core.table.leases()),
        blocked: core.why_blocked(),
        facts: Some(seen.facts),
        now: None,
    };
    let reply = core.means.client.register(&request).await?;
    core.works();
    core.table.told(&reply.leases, sent_at);
    Ok(reply.into())
}
