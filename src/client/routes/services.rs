//! Services: asking for them, looking at them, and what hosts do with them.

use std::time::Duration;

use serde_json::json;

use super::super::ask::Ask;
use super::super::{Client, Error};
use crate::protocol::HostId;
use crate::protocol::api::{
    DeployService, ReportService, ServiceOutput, ServiceRecord, ServiceReply, Services,
    SyncServices, SyncedServices,
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

    /// Says how a host's services stand and hears what is wanted there. The answer may take as long as the request
    /// says that it may wait.
    ///
    /// # Errors
    /// See [`Error`]; [`crate::protocol::api::Code::UnknownHost`] means: register again.
    pub async fn sync_services(
        &self,
        host: &HostId,
        sync: &SyncServices,
    ) -> Result<SyncedServices, Error> {
        let path = ["v1", "hosts", host.as_str(), "services", "sync"];
        let wait = Duration::from_millis(sync.wait_ms.unwrap_or_default());
        // No key: saying it twice is saying it once.
        self.ask(Ask::post(path, sync)?.waiting(wait)).await
    }

    /// Sends output that readers wait for. Tells whether they want more.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send_service_output(
        &self,
        host: &HostId,
        output: &ServiceOutput,
    ) -> Result<bool, Error> {
        let path = ["v1", "hosts", host.as_str(), "services", "logs"];
        self.open(Ask::post(path, output)?).await.map(|_| true)
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
