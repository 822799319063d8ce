//! The routes for the world outside. They take an API key and never see the shared token.

use super::super::ask::Ask;
use super::super::{Client, Error};
use crate::protocol::api::{JobReply, SubmitJob};
use crate::protocol::{JobId, JobRecord};

impl Client {
    /// Asks for a job with [`super::super::Settings::api_key`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn public_submit(
        &self,
        job: &SubmitJob,
        key: Option<&str>,
    ) -> Result<JobRecord, Error> {
        let ask = Ask::post(["v1", "public", "jobs"], job)?;
        let reply: JobReply = self.ask(ask.keyed(key).public()).await?;
        Ok(reply.job)
    }

    /// Returns a job that the same API key asked for.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn public_job(&self, job: JobId) -> Result<JobRecord, Error> {
        let ask = Ask::get(["v1", "public", "jobs", &job.to_string()]);
        let reply: JobReply = self.ask(ask.public()).await?;
        Ok(reply.job)
    }
}
