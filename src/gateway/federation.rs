//! Gateways of one network know of each other: each says where it is to every coordinator it knows, and hears from
//! them of the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::gate::Gate;
use crate::client::Client;
use crate::protocol::api::Gateway;
use crate::support::backoff::jittered;

/// How often it is said. Coordinators forget who is silent for a minute.
const SAY_EVERY: Duration = Duration::from_secs(20);

/// Says where this gateway is and keeps which others there are. `coordinators` are asked one by one, for each has a
/// list of its own; members of a cluster have one together. If none of them answers, `any` knows who else may.
/// Never returns.
pub async fn follow(gate: Arc<Gate>, own: Option<Gateway>, coordinators: Vec<Client>, any: Client) {
    let mut first = true;
    loop {
        let mut all: BTreeMap<String, Gateway> = BTreeMap::new();
        let mut heard = false;
        for coordinator in &coordinators {
            heard |= say(coordinator, own.as_ref(), &mut all).await;
        }
        if !heard {
            heard = say(&any, own.as_ref(), &mut all).await;
        }
        if let Some(own) = &own {
            all.insert(own.url.clone(), own.clone());
        }
        // While all coordinators are away the others are still where they were.
        if heard || first {
            gate.know(all.into_values().collect());
        }
        first = false;
        tokio::time::sleep(jittered(SAY_EVERY)).await;
    }
}

/// Says where this gateway is and takes note of the others. Tells whether that was answered.
async fn say(
    coordinator: &Client,
    own: Option<&Gateway>,
    all: &mut BTreeMap<String, Gateway>,
) -> bool {
    let known = match own {
        Some(own) => coordinator.register_gateway(own).await,
        None => coordinator.gateways().await,
    };
    match known {
        Ok(known) => {
            all.extend(known.into_iter().map(|one| (one.url.clone(), one)));
            true
        }
        // One of the original knows no gateways.
        Err(error) => {
            tracing::debug!(%error, "a coordinator does not tell of gateways");
            false
        }
    }
}
