//! Asking for jobs.

use super::super::ask::Ask;
use super::super::{Client, Error};
use crate::protocol::JobRecord;
use crate::protocol::api::{JobReply, SubmitJob, SubmitMany, SubmittedMany};

impl Client {
    /// Asks for a job. With the same `key` and the same job it is asked for once, whoever says it
    /// how often; without one a fresh key keeps the tries of this call from making two.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn submit(&self, job: &SubmitJob, key: Option<&str>) -> Result<JobRecord, Error> {
        let reply: JobReply = self.ask(Ask::post(["v1", "jobs"], job)?.keyed(key)).await?;
        Ok(reply.job)
    }

    /// Asks for many jobs, all or none.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn submit_many(
        &self,
        jobs: &SubmitMany,
        key: Option<&str>,
    ) -> Result<SubmittedMany, Error> {
        self.ask(Ask::post(["v1", "jobs", "batch"], jobs)?.keyed(key))
            .await
    }
}
