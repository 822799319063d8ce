//! What a host does with work: claim it, hold it, show what it prints, hand it in or back.

use std::time::Duration;

use super::super::ask::Ask;
use super::super::{Client, Error, RequestName};
use crate::protocol::api::{
    AppendLogs, AppendedLogs, Claim, ClaimedMany, ClaimedOne, Complete, CompleteMany,
    CompletedMany, JobReply, Release, ReleasedMany,
};
use crate::protocol::{HostId, JobId, JobRecord};

impl Client {
    /// Asks for one job, as hosts of the original do; with `wait` the answer may take that long.
    /// No work is `None` in the answer.
    ///
    /// # Errors
    /// See [`Error`]; [`crate::protocol::api::Code::UnknownHost`] means: register again.
    pub async fn claim_one(
        &self,
        host: &HostId,
        wait: Option<Duration>,
    ) -> Result<ClaimedOne, Error> {
        self.claim_as(host, None, wait, None).await
    }

    /// Asks for up to `max` jobs; with `wait` the answer may take that long if there are none.
    ///
    /// # Errors
    /// As [`Client::claim_one`].
    pub async fn claim(
        &self,
        host: &HostId,
        max: u16,
        wait: Option<Duration>,
    ) -> Result<ClaimedMany, Error> {
        self.claim_as(host, Some(max), wait, None).await
    }

    /// The same under a name. Asked again under it, at whichever member of a cluster, it brings the leases that it brought
    /// before, for as long as they are held, and no others.
    ///
    /// # Errors
    /// As [`Client::claim_one`].
    pub async fn claim_named(
        &self,
        name: &RequestName,
        host: &HostId,
        max: u16,
        wait: Option<Duration>,
    ) -> Result<ClaimedMany, Error> {
        self.claim_as(host, Some(max), wait, Some(name)).await
    }

    async fn claim_as<T: serde::de::DeserializeOwned>(
        &self,
        host: &HostId,
        max: Option<u16>,
        wait: Option<Duration>,
        name: Option<&RequestName>,
    ) -> Result<T, Error> {
        let body = Claim {
            max,
            wait_ms: wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        };
        // No key: the answer would be kept for a day for nothing. The leases themselves know under which name they were
        // given; coordinators that know no names mend a lost answer at the next heartbeat, which does not name its leases.
        let ask = Ask::post(["v1", "hosts", host.as_str(), "claim"], &body)?;
        let ask = ask.named(name).waiting(wait.unwrap_or_default());
        self.ask(ask).await
    }

    /// Hands in what came of one job. Sending it again is harmless: the lease fences it.
    ///
    /// # Errors
    /// See [`Error`]; [`crate::protocol::api::Code::LeaseLost`] means: drop it.
    pub async fn complete_one(&self, job: JobId, done: &Complete) -> Result<JobRecord, Error> {
        let ask = Ask::post(["v1", "jobs", &job.to_string(), "complete"], done)?;
        // Without a token nothing tells two of them apart.
        let ask = match done.lease_token {
            Some(_) => ask.named(None),
            None => ask,
        };
        let reply: JobReply = self.ask(ask).await?;
        Ok(reply.job)
    }

    /// Hands in what came of several jobs. Lost leases are answers, one by one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn complete(
        &self,
        host: &HostId,
        done: &CompleteMany,
    ) -> Result<CompletedMany, Error> {
        self.complete_named(&RequestName::fresh(), host, done).await
    }

    /// The same under a name, which counts for the claim in it as with [`Client::claim_named`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn complete_named(
        &self,
        name: &RequestName,
        host: &HostId,
        done: &CompleteMany,
    ) -> Result<CompletedMany, Error> {
        let ask = Ask::post(["v1", "hosts", host.as_str(), "complete"], done)?;
        self.ask(ask.named(Some(name))).await
    }

    /// Gives jobs back unharmed.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn release(&self, host: &HostId, release: &Release) -> Result<ReleasedMany, Error> {
        let ask = Ask::post(["v1", "hosts", host.as_str(), "release"], release)?;
        self.ask(ask.named(None)).await
    }

    /// Sends pieces of what jobs print. Sending them again is harmless: their offsets tell.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn append_logs(
        &self,
        host: &HostId,
        logs: &AppendLogs,
    ) -> Result<AppendedLogs, Error> {
        let ask = Ask::post(["v1", "hosts", host.as_str(), "logs"], logs)?;
        self.ask(ask.named(None)).await
    }
}
