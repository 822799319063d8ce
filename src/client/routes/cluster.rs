//! What coordinators are there, and changes of that; partly in the original's form.

use serde_json::{Value, json};

use super::super::ask::Ask;
use super::super::{Client, Error};
use crate::protocol::api::{Peers, RemovePeer};

impl Client {
    /// Returns `{"nodeId", "self"?, "peers"}` and more, see [`Self::network`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn peers(&self) -> Result<Value, Error> {
        self.ask(Ask::get(["v1", "network", "peers"])).await
    }

    /// Returns the coordinators of the cluster.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn network(&self) -> Result<Peers, Error> {
        self.ask(Ask::get(["v1", "network", "peers"])).await
    }

    /// Asks the coordinator at `url` to join this cluster.
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

    /// Lets the coordinator that is asked leave its cluster and end.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn leave(&self) -> Result<Peers, Error> {
        self.ask(Ask::post(["v1", "network", "leave"], &json!({}))?)
            .await
    }

    /// Takes a member out of the cluster.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn remove_peer(&self, meant: &RemovePeer) -> Result<Peers, Error> {
        self.ask(Ask::post(["v1", "network", "remove"], meant)?)
            .await
    }

    /// Hands over a whole state of the original; returns `{"ok", "changed", "nodeId"}` and counts.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn replicate(&self, snapshot: &Value) -> Result<Value, Error> {
        self.ask(Ask::post(["v1", "replicate", "snapshot"], snapshot)?)
            .await
    }
}
