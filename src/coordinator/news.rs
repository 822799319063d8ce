//! Hears what the queue changed and tells those whom it concerns.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::{Room, fails};
use crate::protocol::api::Event;
use crate::protocol::{JobId, JobStatus};
use crate::queue::{Change, Renewed};

/// After news were missed the leases are read again, but not more often than this.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Passes on changes as long as the queue tells of any.
pub async fn run(room: Arc<Room>, mut changes: Receiver<Change>) {
    let mut looked: Option<Instant> = None;
    loop {
        match changes.recv().await {
            Ok(change) => pass_on(&room, change),
            Err(RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "changes were missed");
                room.waiting.try_all();
                room.watch.wake_all();
                room.tell(Event::Gap { at: room.now() });
                if looked.is_none_or(|at| at.elapsed() >= LOOK_AGAIN) {
                    looked = Some(Instant::now());
                    let looking = look_again(Arc::clone(&room));
                    tokio::spawn(room.parts.watched("the look at leases", looking));
                }
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn pass_on(room: &Arc<Room>, change: Change) {
    let at = room.now();
    match change {
        Change::Ready { job, group, avoids } => {
            room.avoiding.ready(job, avoids);
            let before = room.leases.get(job);
            room.waiting.ready(job, before.as_ref());
            if before.is_some() {
                verify(room, job);
            }
            room.tell(Event::JobReady {
                at,
                job_id: job,
                group,
            });
        }
        Change::CancelAsked { job, attempt } => {
            if let Some(host) = room.leases.cancelled(job)
                && room.waiting.nudge(&host)
            {
                room.leases.nudge(&host);
            }
            room.tell(Event::JobCancelAsked {
                at,
                job_id: job,
                attempt,
            });
        }
        Change::Ended {
            job,
            group,
            status,
            reason,
        } => {
            room.leases.gone(job);
            room.watch.wake(job);
            if let (JobStatus::Failed, Some(group)) = (status, group) {
                fails::failed(room, group);
            }
            if let Some(ended) = &room.ended
                && ended.try_send(job).is_err()
            {
                tracing::warn!(%job, "too many jobs ended at once: nobody is told of this one");
            }
            room.tell(Event::JobEnded {
                at,
                job_id: job,
                group,
                status,
                reason,
            });
        }
    }
}

/// Reads again who holds what.
async fn look_again(room: Arc<Room>) {
    tokio::time::sleep(LOOK_AGAIN).await;
    for host in room.leases.hosts() {
        match room.queue.leases_of(host.clone()).await {
            Ok(held) => room.leases.found(&host, &held),
            Err(error) => tracing::debug!(%error, "leases could not be read again"),
        }
    }
}

/// A job that somebody held is ready: either that lease is over, or it was given again so fast that
/// the mirror was ahead of the news. The queue knows; asking it harms neither.
fn verify(room: &Arc<Room>, job: JobId) {
    let Some(held) = room.leases.get(job) else {
        return;
    };
    let room = Arc::clone(room);
    let parts = room.parts.clone();
    tokio::spawn(parts.watched("the look at a lease", async move {
        match room.queue.renew(vec![held.lease()]).await.as_deref() {
            Ok([Renewed::LeaseLost]) => {
                room.leases.over(job, held.token);
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a lease could not be looked up"),
        }
    }));
}
