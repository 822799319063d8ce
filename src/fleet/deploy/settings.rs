//! The provider and key of each host: each key is read once per run, whoever needs it.

use std::collections::HashMap;

use tokio::sync::Mutex;

use super::error::PrepareError;
use super::plan::Provider;
use crate::fleet::agent::env_file::merge_env;
use crate::fleet::agent::picoclaw;
use crate::fleet::file::{Host, KeySource};
use crate::support::secret::Secret;

/// The keys that were read so far.
#[derive(Debug, Default)]
pub(super) struct Providers {
    keys: Mutex<HashMap<KeySource, Secret>>,
}

impl Providers {
    /// Returns how PicoClaw on `host` reaches its model.
    ///
    /// # Errors
    /// When the host's settings do not make a whole, or its key cannot be had.
    pub(super) async fn of(&self, host: &Host) -> Result<Provider, PrepareError> {
        let settings = picoclaw::Settings::resolve(
            &host.provider,
            host.model.as_deref(),
            host.api_base.as_deref(),
        )
        .map_err(|source| PrepareError::Provider {
            host: host.name.clone(),
            source,
        })?;
        let key_name = match &host.key {
            KeySource::Env(name) => name.clone(),
            KeySource::File(_) | KeySource::Cmd(_) => picoclaw::key_variable(&host.provider),
        };
        let key = self.key(host).await?;
        // Tried out here, so that a name that cannot be used is known before any host is contacted.
        merge_env(None, &host.provider, &key_name, &key).map_err(|source| PrepareError::Env {
            host: host.name.clone(),
            source,
        })?;
        Ok(Provider {
            name: host.provider.clone(),
            key_name,
            key,
            settings,
        })
    }

    async fn key(&self, host: &Host) -> Result<Secret, PrepareError> {
        // Held while the key is read: a command that asks for a touch must not run once per host.
        let mut keys = self.keys.lock().await;
        if let Some(key) = keys.get(&host.key) {
            return Ok(key.clone());
        }
        let source = host.key.clone();
        let read = tokio::task::spawn_blocking(move || source.read()).await?;
        let key = read.map_err(|source| PrepareError::Key {
            host: host.name.clone(),
            source,
        })?;
        keys.insert(host.key.clone(), key.clone());
        Ok(key)
    }
}
