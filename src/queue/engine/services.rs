//! Services: asked for by people, taken and reported on by hosts.

use super::{Queue, mixed_up};
use crate::protocol::HostId;
use crate::protocol::api::{DeployService, ReportService, ServiceRecord};
use crate::queue::command::{Command, Idempotency, Outcome, ServiceReported};
use crate::queue::error::Error;
use crate::queue::store::Reader;

impl Queue {
    /// Takes note of a service under `id`. `node` is who answers for the change. The second value
    /// tells that the answer was remembered from an earlier request with the same key.
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

    /// Gives a host the oldest service that it has or may take.
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
