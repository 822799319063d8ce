//! The way from outside to services: finds out where they answer and passes requests on to them.
//!
//! ```text
//!  coordinators ──discover──► directory ◄──probe── health of endpoints
//!                                 │ one table, swapped whole
//!  caller ──► data path ──► Gate::admit ──► an Answer (own route, no key, too large, stopping, …)
//!                 │            │
//!                 │            └─► Visit: the request's service, id, key, retries
//!                 │    Visit::clean(headers)               once
//!                 │ ┌► Visit::pick ─► Pick                 an endpoint; one more under way until it is dropped
//!                 │ │  Visit::address, Visit::target       host and path for it
//!                 │ │  … send, wait for the answer's head …
//!                 │ └─ Visit::came(&pick, Outcome, …)      true: once more, elsewhere; keeps a 5xx for the worst case
//!                 │    Visit::answers(head)                or Visit::refuses(Visit::failed(…))
//!                 │    … bytes; Visit::received, sent, broke; Pick::note(Broken) if the answer breaks off …
//!                 └─── Visit and Pick are dropped          counted, written to the access log
//! ```
//!
//! Everything but `data/` is the control side: it touches no connection of a caller. `data::serve` is the only way
//! into the data path, and what it needs of the control side is in the drawing, besides `Gate::drain` (when to
//! refuse, when to end), `Gate::metrics.connections`, `headers::wants_upgrade` and `settings`.

pub mod access;
pub mod answer;
pub mod cache;
pub mod choose;
mod data;
pub mod directory;
mod discover;
pub mod drain;
pub mod endpoint;
mod federation;
pub mod forwarded;
pub mod gate;
pub mod headers;
pub mod health;
pub mod keys;
pub mod listen;
pub mod metrics;
pub mod moment;
mod own;
pub mod path;
mod probe;
mod request_id;
pub mod retry;
pub mod settings;
pub mod sticky;
pub mod table;
pub mod tls;
pub mod visit;

use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

pub use access::AccessLog;
pub use cache::Cache;
pub use gate::Gate;
pub use settings::Settings;

use crate::client::Client;
use crate::protocol::api::Gateway;
use crate::support::shutdown::{Shutdown, Urgency};
use drain::Phase;
use tls::Certificate;

/// How long the first list of services may take before callers are let in without one.
const FIRST_LIST_WITHIN: Duration = Duration::from_secs(3);

/// What a gateway works with.
#[derive(Debug)]
pub struct Deps {
    /// Where the list of services is.
    pub client: Client,
    /// How it behaves.
    pub settings: Settings,
    /// Where requests are written down, if anywhere.
    pub log: Option<AccessLog>,
    /// Where the last list of services is kept, if it is.
    pub cache: Option<Cache>,
    /// What other gateways are told of this one; nothing if it is to stay unknown.
    pub own: Option<Gateway>,
    /// The same coordinators as `client` has, each by itself: they do not tell each other of gateways.
    pub coordinators: Vec<Client>,
}

/// A gateway that knows its services, as far as a coordinator answered, and lets nobody in yet.
#[derive(Debug)]
pub struct Loaded {
    gate: Arc<Gate>,
    client: Client,
    own: Option<Gateway>,
    coordinators: Vec<Client>,
}

/// Reads which services there are. If no coordinator answers soon, that is no reason not to start.
pub async fn load(deps: Deps) -> Loaded {
    let gate = Arc::new(Gate::new(deps.settings, deps.log, deps.cache));
    let reading = discover::read(&gate, &deps.client);
    let why = match tokio::time::timeout(FIRST_LIST_WITHIN, reading).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("no answer in time".to_owned()),
    };
    if let Some(why) = why {
        tracing::warn!(
            why,
            "no coordinator tells which services there are, trying on"
        );
        if let Some(list) = gate.cache.as_ref().and_then(Cache::load) {
            gate.directory.update(&list);
        }
    }
    Loaded {
        gate,
        client: deps.client,
        own: deps.own,
        coordinators: deps.coordinators,
    }
}

/// Serves the listeners until `shutdown`, then lets open requests end.
///
/// # Errors
/// When a listener cannot be used.
pub async fn serve(
    loaded: Loaded,
    listeners: Vec<TcpListener>,
    mut shutdown: Shutdown,
) -> std::io::Result<()> {
    let Loaded {
        gate,
        client,
        own,
        coordinators,
    } = loaded;
    let mut around = JoinSet::new();
    around.spawn(discover::follow(Arc::clone(&gate), client.clone()));
    around.spawn(probe::follow(Arc::clone(&gate)));
    around.spawn(federation::follow(
        Arc::clone(&gate),
        own,
        coordinators,
        client,
    ));
    if let Some(certificate) = gate.settings.tls.clone() {
        around.spawn(reload(certificate, signal(SignalKind::hangup())?));
    }
    let ending = async {
        shutdown.reached(Urgency::Stop).await;
        let mut again = shutdown.clone();
        tokio::select! {
            () = again.reached(Urgency::Now) => {}
            () = wind_down(&gate) => {}
        }
        gate.drain.enter(Phase::Over);
    };
    let mut serving = pin!(data::serve(Arc::clone(&gate), listeners));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = ending => serving.await,
    };
    around.shutdown().await;
    served
}

/// Reads the certificate again whenever it is told to. Never returns.
async fn reload(certificate: Certificate, mut hangups: Signal) {
    while hangups.recv().await.is_some() {
        match certificate.reload() {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the certificate stays as it was");
            }
        }
    }
}

/// Ends in steps: says so, takes nothing new, waits for what is open.
async fn wind_down(gate: &Gate) {
    let stop = gate.settings.stop;
    let cut = tokio::time::Instant::now() + stop.open;
    gate.drain.enter(Phase::Leaving);
    tokio::time::sleep(stop.taking).await;
    gate.drain.enter(Phase::Refusing);
    if tokio::time::timeout_at(cut, gate.drain.all_ended())
        .await
        .is_err()
    {
        tracing::warn!(open = gate.drain.open(), "some requests are cut off");
    }
}

/// Does both, [`load`] and [`serve`].
///
/// # Errors
/// As [`serve`].
pub async fn run(
    deps: Deps,
    listeners: Vec<TcpListener>,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    serve(load(deps).await, listeners, shutdown).await
}
