//! Services: asked for by people, taken and reported on by hosts.

use super::{Queue, mixed_up};
use crate::protocol::HostId;
use crate::protocol::api::{
    AssignmentReport, ChangeService, DeployService, ReportService, ServiceRecord,
};
use crate::queue::command::{Command, Idempotency, Outcome, ServiceChanged, ServiceReported};
use crate::queue::domain::service::ServiceHost;
use crate::queue::error::Error;
use crate::queue::store::Reader;
use crate::support::ids;

impl Queue {
    /// Takes note of a service under `id`, or under that of the service which `ask` names. `node` is
    /// who answers for the change. A service that is so already stays as it is. The second value tells that the answer was remembered from an earlier request with the same key.
    ///
    /// # Errors
    /// When the key was used otherwise or the file fails.
    pub async fn deploy_service(
        &self,
        id: String,
        ask: DeployService,
        node: String,
        idempotency: Option<Idempotency>,
    ) -> Result<(ServiceRecord, bool), Error> {
        let command = Command::DeployService {
            now: self.now.get(),
            id,
            ask,
            node,
        };
        let applied = self.apply_keyed(command, idempotency).await?;
        match applied.outcome {
            Outcome::Service(Some(service)) => Ok((*service, applied.replayed)),
            other => Err(mixed_up(&other)),
        }
    }

    /// Changes a service that is there. A removed one is returned as it is being removed; it is
    /// forgotten when its last assignment is over. The second value tells that the answer was
    /// remembered from an earlier request with the same key.
    ///
    /// # Errors
    /// When the key was used otherwise or the file fails.
    pub async fn change_service(
        &self,
        id: String,
        change: ChangeService,
        node: String,
        idempotency: Option<Idempotency>,
    ) -> Result<(ServiceChanged, bool), Error> {
        let command = Command::ChangeService {
            now: self.now.get(),
            id,
            change,
            node,
        };
        let applied = self.apply_keyed(command, idempotency).await?;
        match applied.outcome {
            Outcome::ServiceChanged(changed) => Ok((changed, applied.replayed)),
            other => Err(mixed_up(&other)),
        }
    }

    /// Notes all that a host says of its assignments; what it does not name, it does not have. Returns
    /// the services that changed, those among them that are forgotten now as they were last. Nothing is
    /// written when nothing changes.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn sync_services(
        &self,
        host: HostId,
        reports: Vec<AssignmentReport>,
        node: String,
    ) -> Result<Vec<ServiceRecord>, Error> {
        let now = self.now.get();
        let (asked, said) = (host.clone(), reports.clone());
        if !(self.read(move |reader| reader.sync_matters(&asked, &said, now))).await? {
            return Ok(Vec::new());
        }
        let command = Command::SyncServices {
            now: self.now.get(),
            host,
            reports,
            node,
        };
        self.services_of(command).await
    }

    /// Decides what runs where on `hosts`, which must be all there are, and returns the services that
    /// changed, those among them that are forgotten now as they were last. Nothing is written when
    /// nothing changes.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn place_services(
        &self,
        hosts: Vec<ServiceHost>,
        node: String,
    ) -> Result<Vec<ServiceRecord>, Error> {
        let now = self.now.get();
        let asked = hosts.clone();
        if !(self.read(move |reader| reader.placing_matters(&asked, now))).await? {
            return Ok(Vec::new());
        }
        let command = Command::PlaceServices {
            now: self.now.get(),
            hosts,
            seed: ids::time_ordered().into_bytes(),
            node,
        };
        self.services_of(command).await
    }

    async fn services_of(&self, command: Command) -> Result<Vec<ServiceRecord>, Error> {
        match self.apply(command.into()).await?.outcome {
            Outcome::Services(services) => Ok(services),
            other => Err(mixed_up(&other)),
        }
    }

    /// Gives a host of the original a service that it may take, or one that it has.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn claim_service(
        &self,
        host: HostId,
        capabilities: Vec<String>,
        node: String,
    ) -> Result<Option<ServiceRecord>, Error> {
        let command = Command::ClaimService {
            now: self.now.get(),
            host,
            capabilities,
            node,
        };
        match self.apply(command.into()).await?.outcome {
            Outcome::Service(service) => Ok(service.map(|service| *service)),
            other => Err(mixed_up(&other)),
        }
    }

    /// Notes what a host says about its part of a service.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn report_service(
        &self,
        id: String,
        report: ReportService,
        node: String,
    ) -> Result<ServiceReported, Error> {
        let command = Command::ReportService {
            now: self.now.get(),
            id,
            report,
            node,
        };
        match self.apply(command.into()).await?.outcome {
            Outcome::ServiceReported(reported) => Ok(reported),
            other => Err(mixed_up(&other)),
        }
    }

    /// Returns the service with this id.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn service(&self, id: String) -> Result<Option<ServiceRecord>, Error> {
        self.read(move |reader| reader.service(&id)).await
    }

    /// Returns every service, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn services(&self) -> Result<Vec<ServiceRecord>, Error> {
        self.read(Reader::services).await
    }
}
