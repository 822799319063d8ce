//! Walks over the pages of a list of jobs.

use crate::client::{Client, Error, JobQuery};
use crate::protocol::JobRecord;

/// The most that a coordinator puts on one page.
const PAGE: u32 = 500;

/// Returns the jobs that `query` names, at most `limit` of them.
///
/// # Errors
/// When the coordinator cannot be asked.
pub async fn all(
    client: &Client,
    mut query: JobQuery,
    limit: Option<usize>,
) -> Result<Vec<JobRecord>, Error> {
    let mut found: Vec<JobRecord> = Vec::new();
    loop {
        let left = limit.map_or(usize::MAX, |limit| limit.saturating_sub(found.len()));
        if left == 0 {
            return Ok(found);
        }
        query.limit = Some(u32::try_from(left).unwrap_or(PAGE).min(PAGE));
        let page = client.jobs(&query).await?;
        let empty = page.jobs.is_empty();
        found.extend(page.jobs.into_iter().take(left));
        match page.next {
            Some(next) if !empty => query.cursor = Some(next),
            Some(_) | None => return Ok(found),
        }
    }
}
