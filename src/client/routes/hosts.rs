//! Hosts: how they introduce themselves, and what people decide about them.

use std::time::Duration;

use super::super::ask::Ask;
use super::super::{Client, Error};
use crate::protocol::HostId;
use crate::protocol::api::{
    Heartbeat, HeartbeatReply, HostRecord, HostReply, Hosts, Register, Registered,
};

/// What people decide about a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostOrder {
    /// Finish what it has and take no more.
    Drain,
    /// Take work again.
    Undrain,
    /// Take no more for now.
    Pause,
    /// Take work again.
    Resume,
}

impl HostOrder {
    /// Returns the last word of the route.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

impl Client {
    /// Introduces a host. With an id it may be said again at any time.
    ///
    /// # Errors
    /// See [`Error`]; [`crate::protocol::api::Code::HostIdInUse`] means that another machine has the id.
    pub async fn register(&self, register: &Register) -> Result<Registered, Error> {
        let ask = Ask::post(["v1", "hosts", "register"], register)?;
        self.ask(match register.host_id {
            // Only this one makes something new each time.
            None => ask.keyed(None),
            Some(_) => ask.named(None),
        })
        .await
    }

    /// Says that a host lives and renews its leases.
    ///
    /// # Errors
    /// See [`Error`]; [`crate::protocol::api::Code::UnknownHost`] means: register again.
    pub async fn heartbeat(
        &self,
        host: &HostId,
        heartbeat: &Heartbeat,
    ) -> Result<HeartbeatReply, Error> {
        let ask = Ask::post(["v1", "hosts", host.as_str(), "heartbeat"], heartbeat)?;
        self.ask(ask.named(None)).await
    }

    /// The same if it must be said within `limit` to be of use: a coordinator that is silent for half of it is
    /// passed over, if there is another.
    ///
    /// # Errors
    /// As [`Client::heartbeat`].
    pub async fn heartbeat_within(
        &self,
        host: &HostId,
        heartbeat: &Heartbeat,
        limit: Duration,
    ) -> Result<HeartbeatReply, Error> {
        let ask = Ask::post(["v1", "hosts", host.as_str(), "heartbeat"], heartbeat)?;
        self.ask(ask.named(None).within(limit)).await
    }

    /// Returns every host, by name.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn hosts(&self) -> Result<Vec<HostRecord>, Error> {
        let hosts: Hosts = self.ask(Ask::get(["v1", "hosts"])).await?;
        Ok(hosts.hosts)
    }

    /// Returns one host.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn host(&self, host: &HostId) -> Result<HostRecord, Error> {
        let reply: HostReply = self.ask(Ask::get(["v1", "hosts", host.as_str()])).await?;
        Ok(reply.host)
    }

    /// Decides whether a host is given work. Saying it twice is saying it once.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn order_host(&self, host: &HostId, order: HostOrder) -> Result<HostRecord, Error> {
        let path = ["v1", "hosts", host.as_str(), order.word()];
        let reply: HostReply = self.ask(Ask::post(path, &serde_json::json!({}))?).await?;
        Ok(reply.host)
    }

    /// Takes a host out of the list. Its leases go back to the queue.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn deregister(&self, host: &HostId) -> Result<HostRecord, Error> {
        let path = ["v1", "hosts", host.as_str(), "deregister"];
        let reply: HostReply = self.ask(Ask::post(path, &serde_json::json!({}))?).await?;
        Ok(reply.host)
    }
}
