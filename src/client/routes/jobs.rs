//! Looking at jobs, waiting for them, taking them back, running them again.

use std::time::{Duration, Instant};

use super::super::ask::Ask;
use super::super::events::LogStream;
use super::super::{Client, Error};
use crate::protocol::api::{
    CancelJobs, CancelledJobs, Explained, JobAttempts, JobPage, JobReply, LogPage, Retried,
    RetryJobs, Stream,
};
use crate::protocol::{AttemptNo, GroupId, HostId, JobId, JobRecord, JobStatus, Reason};

/// The longest wait that a coordinator grants in one answer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long to leave a coordinator alone that answers at once although it was asked to wait.
const PAUSE: Duration = Duration::from_secs(1);

/// Which jobs. Nothing set means all, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobQuery {
    /// With this status.
    pub status: Option<JobStatus>,
    /// Failed for this reason.
    pub reason: Option<Reason>,
    /// Of this group, in queue order.
    pub group: Option<GroupId>,
    /// Held or last run by this host.
    pub host: Option<HostId>,
    /// Asked for by this.
    pub submitted_by: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// After the page that ended with this.
    pub cursor: Option<String>,
    /// How many at most.
    pub limit: Option<u32>,
}

/// Which part of what a job printed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogQuery {
    /// Of this try; the last one if not given.
    pub attempt: Option<AttemptNo>,
    /// Of this stream; both if not given.
    pub stream: Option<Stream>,
    /// After the page that ended with this.
    pub cursor: Option<String>,
    /// How many pieces at most.
    pub limit: Option<u32>,
}

impl Client {
    /// Returns a page of jobs.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn jobs(&self, query: &JobQuery) -> Result<JobPage, Error> {
        let ask = Ask::get(["v1", "jobs"])
            .query("status", query.status.map(JobStatus::as_str))
            .query("reason", query.reason.map(Reason::as_str))
            .query("group", query.group)
            .query("host", query.host.as_ref())
            .query("submittedBy", query.submitted_by.as_ref())
            .query("kind", query.kind.as_ref())
            .query("cursor", query.cursor.as_ref())
            .query("limit", query.limit);
        self.ask(ask).await
    }

    /// Returns one job.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn job(&self, job: JobId) -> Result<JobRecord, Error> {
        self.job_after(job, Duration::ZERO).await
    }

    async fn job_after(&self, job: JobId, wait: Duration) -> Result<JobRecord, Error> {
        let wait_ms = (!wait.is_zero()).then_some(wait.as_millis());
        let ask = Ask::get(["v1", "jobs", &job.to_string()])
            .query("waitMs", wait_ms)
            .waiting(wait);
        let reply: JobReply = self.ask(ask).await?;
        Ok(reply.job)
    }

    /// Waits until a job has ended, or until `limit` is over, and returns it as it is then.
    ///
    /// # Errors
    /// See [`Error`]. A coordinator that is away in between is waited for until `patience` is over.
    pub async fn wait(
        &self,
        job: JobId,
        limit: Option<Duration>,
        patience: Duration,
    ) -> Result<JobRecord, Error> {
        let began = Instant::now();
        let mut heard = Instant::now();
        loop {
            let left = limit.map_or(LONGEST_WAIT, |limit| limit.saturating_sub(began.elapsed()));
            let wait = left.min(LONGEST_WAIT);
            let asked = Instant::now();
            match self.job_after(job, wait).await {
                Ok(record) if record.status.is_final() || left.is_zero() => return Ok(record),
                Ok(_) => heard = Instant::now(),
                Err(error) if error.retry_helps() && heard.elapsed() < patience => {
                    tracing::debug!(%error, "waiting for a coordinator");
                }
                Err(error) => return Err(error),
            }
            // A coordinator that cannot wait, or is not there, must not be asked in a tight loop.
            let early = wait.min(PAUSE).saturating_sub(asked.elapsed());
            tokio::time::sleep(early).await;
        }
    }

    /// Returns every try of a job.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn attempts(&self, job: JobId) -> Result<JobAttempts, Error> {
        self.ask(Ask::get(["v1", "jobs", &job.to_string(), "attempts"]))
            .await
    }

    /// Returns, for each host, whether it could run the job and why not.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn explain(&self, job: JobId) -> Result<Explained, Error> {
        self.ask(Ask::get(["v1", "jobs", &job.to_string(), "explain"]))
            .await
    }

    /// Returns a page of what a job printed.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn logs(&self, job: JobId, query: &LogQuery) -> Result<LogPage, Error> {
        self.ask(logs_ask(job, query)).await
    }

    /// Follows what a job prints until it ends.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn follow_logs(&self, job: JobId, query: &LogQuery) -> Result<LogStream, Error> {
        LogStream::open(self, logs_ask(job, query)).await
    }

    /// Takes jobs back.
    ///
    /// # Errors
    /// See [`Error`]. Unknown ids are part of the answer.
    pub async fn cancel(&self, cancel: &CancelJobs) -> Result<CancelledJobs, Error> {
        self.ask(Ask::post(["v1", "jobs", "cancel"], cancel)?).await
    }

    /// Asks for ended jobs again, as new ones.
    ///
    /// # Errors
    /// See [`Error`]. Unknown ids are part of the answer.
    pub async fn retry(&self, retry: &RetryJobs) -> Result<Retried, Error> {
        self.ask(Ask::post(["v1", "jobs", "retry"], retry)?.keyed(None))
            .await
    }
}

fn logs_ask(job: JobId, query: &LogQuery) -> Ask {
    let stream = query.stream.map(|stream| match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    });
    Ask::get(["v1", "jobs", &job.to_string(), "logs"])
        .query("attempt", query.attempt)
        .query("stream", stream)
        .query("cursor", query.cursor.as_ref())
        .query("limit", query.limit)
}
