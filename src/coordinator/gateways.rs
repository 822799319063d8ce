//! Gateways that said where they are. In memory: each says it again every few seconds.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::api::Gateway;

/// How long a gateway is known after it was last heard of.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// How many are known at once.
const MOST: usize = 1000;

/// The gateways, by id.
#[derive(Debug, Default)]
pub struct Registry(Mutex<BTreeMap<String, (Gateway, Instant)>>);

impl Registry {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, (Gateway, Instant)>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, heard)| heard.elapsed() < KNOWN_FOR);
        known
    }

    /// Takes note of a gateway. Tells whether there was room for it.
    pub fn hear(&self, gateway: Gateway) -> bool {
        let mut known = self.known();
        if known.len() >= MOST && !known.contains_key(&gateway.id) {
            return false;
        }
        known.insert(gateway.id.clone(), (gateway, Instant::now()));
        true
    }

    /// Returns those that were heard of lately, by URL.
    pub fn all(&self) -> Vec<Gateway> {
        let known = self.known();
        let mut all: Vec<Gateway> = known.values().map(|(gateway, _)| gateway.clone()).collect();
        all.sort_by(|one, other| (&one.url, &one.id).cmp(&(&other.url, &other.id)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(id: &str, url: &str) -> Gateway {
        Gateway {
            id: id.to_owned(),
            url: url.to_owned(),
            name: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_for_a_minute_is_forgotten() {
        let registry = Registry::default();
        assert!(registry.hear(gateway("a", "http://two")));
        tokio::time::advance(KNOWN_FOR / 2).await;
        assert!(registry.hear(gateway("b", "http://one")));
        let ids = |registry: &Registry| -> Vec<String> {
            registry.all().into_iter().map(|one| one.id).collect()
        };
        assert_eq!(ids(&registry), ["b", "a"]);
        tokio::time::advance(KNOWN_FOR / 2).await;
        assert_eq!(ids(&registry), ["b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_room_for_so_many() {
        let registry = Registry::default();
        for number in 0..MOST {
            assert!(registry.hear(gateway(&number.to_string(), "http://x")));
        }
        assert!(!registry.hear(gateway("one more", "http://x")));
        assert!(registry.hear(gateway("7", "http://y")));
    }
}
