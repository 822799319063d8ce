//! Carries a run out through a coordinator: hands its jobs in, follows them wherever they run, and tells
//! the same as a run in this process would.
//!
//! The coordinator owns the jobs. It may go away and come back while we follow, and we may go away: the
//! run goes on without us.

mod attend;
mod course;
mod feed;
mod find;
mod follower;
mod names;
mod submit;
mod tape;
mod travel;

use std::time::Duration;

use tokio::sync::mpsc;

use self::follower::Follower;
use crate::client::{self, Client, JobQuery};
use crate::fleet::run::RunEvent;
use crate::protocol::{GroupId, JobRecord};
use crate::support::shutdown::{Shutdown, Urgency};

pub use course::{Course, Error, Place, Reach};
pub use find::{Found, find};
pub use submit::{Handover, submit};
pub use travel::{Reason, travels};

/// How long a coordinator may be away before nobody waits for it any longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Carries out a run whose jobs `handover` holds, or goes on with one whose jobs the coordinator has.
/// Every unit gets exactly one [`RunEvent::Ended`], unless the coordinator is gone.
///
/// # Errors
/// When the coordinator cannot be asked for longer than [`PATIENCE`].
pub async fn carry_out(
    course: Course,
    handover: Option<Handover>,
    client: Client,
    mut shutdown: Shutdown,
    events: mpsc::Sender<RunEvent>,
) -> Result<(), Error> {
    // Before the jobs, so that nothing of them is missed.
    let news = feed::listen(&client).await.map_err(Error::Submit)?;
    let is_new = handover.is_some();
    if let Some(handover) = &handover {
        tokio::select! {
            taken = submit(&client, handover) => {
                taken.map_err(|source| handover.failed(course.group, source))?;
            }
            // Whether it was taken is not known; taking it back is right either way.
            () = shutdown.reached(Urgency::Now) => {}
        }
    }
    let mut follower = Follower::new(course, client, events);
    if !is_new {
        follower
            .catch_up()
            .await
            .map_err(|source| follower.away(source))?;
    }
    follower.run(news, &mut shutdown).await
}

/// Returns all jobs of a run, in order.
///
/// # Errors
/// When the coordinator cannot be asked.
pub async fn jobs(client: &Client, run: GroupId) -> Result<Vec<JobRecord>, client::Error> {
    let mut query = JobQuery {
        group: Some(run),
        limit: Some(500),
        ..JobQuery::default()
    };
    let mut all = Vec::new();
    loop {
        let page = client.jobs(&query).await?;
        all.extend(page.jobs);
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok(all),
        }
    }
}
