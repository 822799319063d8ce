//! Gateways: saying where one is, and finding one.

use super::super::ask::Ask;
use super::super::events::EventStream;
use super::super::{Client, Error};
use crate::protocol::api::{Gateway, Gateways};

impl Client {
    /// Hears of each change of a service, from now on. Unlike other streams it does not outlive its connection: who
    /// reads lists does not need what was missed, but has to know that it may have missed something. A coordinator
    /// of another version may send other events as well.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn service_changes(&self) -> Result<EventStream, Error> {
        let ask = Ask::get(["v1", "events"]).query("only", Some("service-changed"));
        EventStream::open_once(self, ask).await
    }

    /// Says where a gateway is; holds for a minute. Returns all that are known.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn register_gateway(&self, gateway: &Gateway) -> Result<Vec<Gateway>, Error> {
        let known: Gateways = self.ask(Ask::post(["v1", "gateways"], gateway)?).await?;
        Ok(known.gateways)
    }

    /// Returns the gateways that were heard of within the last minute, by URL.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn gateways(&self) -> Result<Vec<Gateway>, Error> {
        let known: Gateways = self.ask(Ask::get(["v1", "gateways"])).await?;
        Ok(known.gateways)
    }
}
