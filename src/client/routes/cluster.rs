//! What coordinators say to each other, in the original's form.

use serde_json::{Value, json};

use super::super::ask::Ask;
use super::super::{Client, Error};

impl Client {
    /// Returns `{"nodeId", "self"?, "peers"}`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn peers(&self) -> Result<Value, Error> {
        self.ask(Ask::get(["v1", "network", "peers"])).await
    }

    /// Makes a coordinator known to another.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn join(&self, url: &str) -> Result<Value, Error> {
        self.ask(Ask::post(
            ["v1", "network", "join"],
            &json!({ "url": url }),
        )?)
        .await
    }

    /// Hands over a whole state; returns `{"ok", "changed", "nodeId"}`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn replicate(&self, snapshot: &Value) -> Result<Value, Error> {
        self.ask(Ask::post(["v1", "replicate", "snapshot"], snapshot)?)
            .await
    }
}
