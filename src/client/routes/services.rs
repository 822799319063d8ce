//! Services. Their records travel as plain JSON: the room for them has no types yet.

use serde_json::{Value, json};

use super::super::send::Ask;
use super::super::{Client, Error};
use crate::protocol::HostId;

impl Client {
    /// Deploys a service; returns `{"service": …}`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn deploy_service(&self, service: &Value) -> Result<Value, Error> {
        self.ask(Ask::post(["v1", "services"], service)?.keyed(None))
            .await
    }

    /// Returns `{"services": […]}`, oldest first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn services(&self) -> Result<Value, Error> {
        self.ask(Ask::get(["v1", "services"])).await
    }

    /// Returns `{"service": …}`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn service(&self, id: &str) -> Result<Value, Error> {
        self.ask(Ask::get(["v1", "services", id])).await
    }

    /// Asks for a service to run; returns `{"service": …}` or `{"service": null}`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn claim_service(&self, host: &HostId) -> Result<Value, Error> {
        let path = ["v1", "hosts", host.as_str(), "services", "claim"];
        self.ask(Ask::post(path, &json!({}))?).await
    }

    /// Says how a service does on a host; returns `{"service": …}`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn report_service(&self, id: &str, report: &Value) -> Result<Value, Error> {
        self.ask(Ask::post(["v1", "services", id, "report"], report)?)
            .await
    }
}
