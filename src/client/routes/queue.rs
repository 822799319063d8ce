//! The coordinator and its queue as a whole.

use serde_json::{Value, json};

use super::super::ask::Ask;
use super::super::events::EventStream;
use super::super::{Client, Error};
use crate::protocol::api::{Health, QueueState};

impl Client {
    /// Asks whether the coordinator is there and which one it is.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn health(&self) -> Result<Health, Error> {
        self.ask(Ask::get(["health"])).await
    }

    /// Returns everything, as the original's clients read it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn state(&self) -> Result<Value, Error> {
        self.ask(Ask::get(["v1", "state"])).await
    }

    /// Returns how the queue stands.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn queue(&self) -> Result<QueueState, Error> {
        self.ask(Ask::get(["v1", "queue"])).await
    }

    /// Stops giving out jobs. What runs goes on.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn pause_queue(&self) -> Result<QueueState, Error> {
        self.ask(Ask::post(["v1", "queue", "pause"], &json!({}))?)
            .await
    }

    /// Gives out jobs again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn resume_queue(&self) -> Result<QueueState, Error> {
        self.ask(Ask::post(["v1", "queue", "resume"], &json!({}))?)
            .await
    }

    /// Follows what happens, from now on or after the event with the id `after`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn events(&self, after: Option<String>) -> Result<EventStream, Error> {
        self.events_only(&[], after).await
    }

    /// The same with only events of these kinds ([`crate::protocol::api::Event::kind`]), and gaps.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn events_only(
        &self,
        kinds: &[&str],
        after: Option<String>,
    ) -> Result<EventStream, Error> {
        let only = (!kinds.is_empty()).then(|| kinds.join(","));
        let ask = Ask::get(["v1", "events"]).query("only", only);
        EventStream::open(self, ask, after).await
    }
}
