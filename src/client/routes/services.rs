//! Services: asking for them, looking at them, and what hosts say of them.

use std::time::Duration;

use serde_json::json;

use super::super::ask::Ask;
use super::super::events::ServiceLogStream;
use super::super::{Client, Error};
use crate::protocol::HostId;
use crate::protocol::api::{
    ChangeService, DeployService, ReportService, ServiceOutput, ServiceRecord, ServiceReply,
    Services, SyncServices, SyncedServices, TakenOutput,
};

/// The longest wait that a coordinator grants in one answer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a coordinator lets output wait for its readers.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which part of what a service prints.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceLogQuery {
    /// How many of the latest lines of each replica come first; 100 if not given.
    pub tail: Option<u32>,
    /// What comes later as well.
    pub follow: bool,
    /// Only this one: the id of an assignment, or of its host.
    pub replica: Option<String>,
}

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

    /// Stops, starts, restarts, scales or removes a service. Returns it as it is then.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn change_service(
        &self,
        id: &str,
        change: &ChangeService,
    ) -> Result<ServiceRecord, Error> {
        let path = ["v1", "services", id, "change"];
        let reply: ServiceReply = self.ask(Ask::post(path, change)?.keyed(None)).await?;
        Ok(reply.service)
    }

    /// Reads what a service prints.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn service_logs(
        &self,
        id: &str,
        query: &ServiceLogQuery,
    ) -> Result<ServiceLogStream, Error> {
        let ask = Ask::get(["v1", "services", id, "logs"])
            .query("tail", query.tail)
            .query("follow", query.follow.then_some(1))
            .query("replica", query.replica.as_ref());
        ServiceLogStream::open(self, ask).await
    }

    /// Says what a host runs, and hears what it should run; waits for news as long as the request says.
    ///
    /// # Errors
    /// See [`Error`]; [`crate::protocol::api::Code::UnknownHost`] means: register again.
    pub async fn sync_services(
        &self,
        host: &HostId,
        sync: &SyncServices,
    ) -> Result<SyncedServices, Error> {
        let wait = Duration::from_millis(sync.wait_ms.unwrap_or(0)).min(LONGEST_WAIT);
        let path = ["v1", "hosts", host.as_str(), "services", "sync"];
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
        // The answer may wait for readers that are slow.
        let ask = Ask::post(path, output)?.waiting(PATIENCE);
        let taken: TakenOutput = self.ask(ask).await?;
        Ok(taken.wanted)
    }

    /// Asks for a service to run on a host of the original; none is `None`.
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
