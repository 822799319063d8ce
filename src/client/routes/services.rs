//! Services: asking for them, looking at them, and what hosts do with them.

use serde_json::json;

use super::super::ask::Ask;
use super::super::events::EventStream;
use super::super::{Client, Error};
use crate::protocol::HostId;
use crate::protocol::api::{
    ChangeService, DeployService, ReportService, ServiceRecord, ServiceReply, Services,
};

impl Client {
    /// Asks for a service, or replaces the one whose id it names.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn deploy_service(&self, service: &DeployService) -> Result<ServiceRecord, Error> {
        let reply: ServiceReply = self
            .ask(Ask::post(["v1", "services"], service)?.keyed(None))
            .await?;
        Ok(reply.service)
    }

    /// Returns every service, oldest first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn services(&self) -> Result<Vec<ServiceRecord>, Error> {
        let services: Services = self.ask(Ask::get(["v1", "services"])).await?;
        Ok(services.services)
    }

    /// Returns one service.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn service(&self, id: &str) -> Result<ServiceRecord, Error> {
        let reply: ServiceReply = self.ask(Ask::get(["v1", "services", id])).await?;
        Ok(reply.service)
    }

    /// Stops, starts, restarts, scales or removes a service.
    ///
    /// # Errors
    /// See [`Error`]; [`crate::protocol::api::Code::UnknownService`] means that there is none.
    pub async fn change_service(
        &self,
        id: &str,
        change: &ChangeService,
    ) -> Result<ServiceRecord, Error> {
        let ask = Ask::post(["v1", "services", id, "change"], change)?;
        let reply: ServiceReply = self.ask(ask.keyed(None)).await?;
        Ok(reply.service)
    }

    /// Follows what happens to services, from now on.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn service_events(&self) -> Result<EventStream, Error> {
        let ask = Ask::get(["v1", "events"]).query("only", Some("service-changed"));
        EventStream::open(self, ask, None).await
    }

    /// Asks for a service to run on a host; none is `None`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn claim_service(&self, host: &HostId) -> Result<Option<ServiceRecord>, Error> {
        let path = ["v1", "hosts", host.as_str(), "services", "claim"];
        let reply: ServiceReply<Option<ServiceRecord>> =
            self.ask(Ask::post(path, &json!({}))?).await?;
        Ok(reply.service)
    }

    /// Says how a service does on a host.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn report_service(
        &self,
        id: &str,
        report: &ReportService,
    ) -> Result<ServiceRecord, Error> {
        let reply: ServiceReply = self
            .ask(Ask::post(["v1", "services", id, "report"], report)?)
            .await?;
        Ok(reply.service)
    }
}
