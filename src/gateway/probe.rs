//! Active probes: one task for each endpoint that asks it now and then whether it is well.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::endpoint::Endpoint;
use super::gate::Gate;
use super::settings::Probes;
use crate::support::backoff::jittered;
use crate::support::ids;

/// How many probes are under way at once.
const AT_ONCE: usize = 64;
/// A fresh endpoint is probed within this long, so that what is dead from the start is soon known.
const FIRST_WITHIN: Duration = Duration::from_millis(500);

/// Probes every endpoint that the directory has. Never returns, unless the system gives no HTTP client.
pub async fn follow(gate: Arc<Gate>) {
    let Some(prober) = Prober::new(gate.settings.probes.clone()) else {
        return;
    };
    let prober = Arc::new(prober);
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
    http: reqwest::Client,
    at_once: Semaphore,
}

impl Prober {
    fn new(probes: Probes) -> Option<Self> {
        crate::support::tls::use_ring();
        let http = reqwest::Client::builder()
            .user_agent(concat!("skyclaw-gateway/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // Each probe shows that a connection can be made.
            .pool_max_idle_per_host(0)
            .timeout(probes.timeout)
            .build();
        match http {
            Ok(http) => Some(Self {
                probes,
                http,
                at_once: Semaphore::new(AT_ONCE),
            }),
            Err(error) => {
                tracing::error!(%error, "endpoints are not probed");
                None
            }
        }
    }

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
        let base = endpoint.identity.url.trim_end_matches('/');
        let slash = if path.starts_with('/') { "" } else { "/" };
        let Ok(answer) = self.http.get(format!("{base}{slash}{path}")).send().await else {
            return false;
        };
        let status = answer.status();
        match own.is_some() || self.probes.path_is_chosen {
            true => status.is_success(),
            // The path is our guess: that it is not there says only that somebody answers.
            false => !status.is_server_error(),
        }
    }
}
