//! Active probes: one task for each endpoint that asks it now and then whether it is well.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::data;
use super::endpoint::Endpoint;
use super::gate::Gate;
use super::settings::Probes;
use crate::support::backoff::jittered;
use crate::support::ids;

/// How many probes are under way at once.
const AT_ONCE: usize = 64;
/// A fresh endpoint is probed within this long, so that what is dead from the start is soon known.
const FIRST_WITHIN: Duration = Duration::from_millis(500);

/// Probes every endpoint that the directory has. Never returns.
pub async fn follow(gate: Arc<Gate>) {
    let prober = Arc::new(Prober {
        probes: gate.settings.probes.clone(),
        at_once: Semaphore::new(AT_ONCE),
    });
    let mut changes = gate.directory.changes();
    // By address, which is no other's as long as the weak pointer is there.
    let mut probed: HashMap<usize, Weak<Endpoint>> = HashMap::new();
    loop {
        changes.mark_unchanged();
        let table = gate.directory.table();
        probed.retain(|_, known| known.strong_count() > 0);
        for endpoint in table.services().flat_map(|service| &service.endpoints) {
            probed
                .entry(Arc::as_ptr(endpoint).addr())
                .or_insert_with(|| {
                    let weak = Arc::downgrade(endpoint);
                    tokio::spawn(Arc::clone(&prober).keep_at(weak.clone()));
                    weak
                });
        }
        drop(table);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

struct Prober {
    probes: Probes,
    at_once: Semaphore,
}

impl Prober {
    /// Probes an endpoint for as long as anybody knows it.
    async fn keep_at(self: Arc<Self>, endpoint: Weak<Endpoint>) {
        let mut pause = FIRST_WITHIN.mul_f64(ids::fraction());
        loop {
            tokio::time::sleep(pause).await;
            let Some(endpoint) = endpoint.upgrade() else {
                return;
            };
            let well = self.ask(&endpoint).await;
            if endpoint.health.probed(well) {
                tracing::info!(
                    endpoint = endpoint.identity.url,
                    well,
                    "an endpoint's probes say otherwise now"
                );
            }
            pause = jittered(self.probes.every);
        }
    }

    async fn ask(&self, endpoint: &Endpoint) -> bool {
        let Ok(_place) = self.at_once.acquire().await else {
            return true;
        };
        let own = endpoint.identity.health.as_deref();
        let path = own.unwrap_or(&self.probes.path);
        let slash = if path.starts_with('/') { "" } else { "/" };
        let target = format!("{}{slash}{path}", endpoint.place.prefix);
        let Ok(target) = target.try_into() else {
            return false;
        };
        let Some(status) = data::ask(endpoint, target, self.probes.timeout).await else {
            return false;
        };
        match own.is_some() || self.probes.path_is_chosen {
            true => status.is_success(),
            // The path is our guess: that it is not there says only that somebody answers.
            false => !status.is_server_error(),
        }
    }
}
