//! Waits for several jobs at once.

use std::time::{Duration, Instant};

use super::pages;
use super::wait::PATIENCE;
use crate::client::{Client, Error, JobQuery};
use crate::protocol::{GroupId, JobId, JobRecord, JobStatus};

/// Waits for each job in turn: when the last answer is there, all have ended. Returns them in order.
///
/// # Errors
/// When a job is unknown or the coordinator cannot be asked.
pub async fn wait_each(
    client: &Client,
    ids: &[JobId],
    limit: Option<Duration>,
) -> Result<Vec<JobRecord>, Error> {
    let began = Instant::now();
    let mut jobs = Vec::with_capacity(ids.len());
    for id in ids {
        let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
        jobs.push(client.wait(*id, left, PATIENCE).await?);
    }
    Ok(jobs)
}

/// Waits until no job of the group can change any more. Returns them all, in their order.
///
/// # Errors
/// When the group is unknown or the coordinator cannot be asked.
pub async fn wait(
    client: &Client,
    group: GroupId,
    limit: Option<Duration>,
) -> Result<Vec<JobRecord>, Error> {
    let began = Instant::now();
    let all = || {
        let query = JobQuery {
            group: Some(group),
            ..JobQuery::default()
        };
        pages::all(client, query, None)
    };
    loop {
        // Running ones first: they end before those that wait behind them.
        while let Some(next) = open_job(client, group).await? {
            let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
            let job = client.wait(next, left, PATIENCE).await?;
            if !job.status.is_final() {
                return all().await;
            }
        }
        let jobs = all().await?;
        // Claimed after the first question and before the second, a job is in neither answer.
        if jobs.iter().all(|job| job.status.is_final()) {
            return Ok(jobs);
        }
    }
}

async fn open_job(client: &Client, group: GroupId) -> Result<Option<JobId>, Error> {
    for status in [JobStatus::Leased, JobStatus::Queued] {
        let query = JobQuery {
            group: Some(group),
            status: Some(status),
            limit: Some(1),
            ..JobQuery::default()
        };
        if let Some(job) = client.jobs(&query).await?.jobs.first() {
            return Ok(Some(job.id));
        }
    }
    Ok(None)
}
