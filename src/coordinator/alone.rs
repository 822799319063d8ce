//! A lost job goes to another host than the one that lost it, for as long as a lease lasts. Where no other host could
//! run it, that would only be time lost, so it may have the same one again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Room;
use crate::protocol::{AttemptEnd, HostId, JobId, JobStatus, Requirement};
use crate::queue::JobView;
use crate::support::clock::Timestamp;

/// Jobs that avoid the host that lost them.
#[derive(Debug, Default)]
pub struct Avoiding(Mutex<HashMap<JobId, Option<Arc<Avoids>>>>);

/// What is known of one of them.
#[derive(Debug)]
struct Avoids {
    host: HostId,
    requirement: Requirement,
    until: Timestamp,
}

impl Avoiding {
    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Option<Arc<Avoids>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a job that is ready and avoids a host, or does no longer.
    pub fn ready(&self, job: JobId, avoids: bool) {
        let mut jobs = self.jobs();
        match avoids {
            true => {
                jobs.insert(job, None);
            }
            false if jobs.is_empty() => {}
            false => {
                jobs.remove(&job);
            }
        }
    }
}

/// Lets jobs back to the hosts that lost them where there is no other now. Called once in a while.
pub async fn look(room: &Room) {
    let jobs: Vec<_> = room
        .avoiding
        .jobs()
        .iter()
        .map(|(job, avoids)| (*job, avoids.clone()))
        .collect();
    for (job, known) in jobs {
        let avoids = match known {
            Some(known) => Some(known),
            None => read(room, job).await,
        };
        let over = match &avoids {
            Some(avoids) if room.now() >= avoids.until => true,
            Some(avoids) if room.presence.other_can(&avoids.host, &avoids.requirement) => false,
            Some(avoids) => match room.queue.readmit(job).await {
                Ok(was) => {
                    tracing::debug!(%job, host = %avoids.host, was, "nobody else could run it");
                    true
                }
                Err(error) => {
                    tracing::warn!(%error, "a lost job cannot be let back to its host yet");
                    room.storage.failed(&error);
                    false
                }
            },
            None => true,
        };
        let mut jobs = room.avoiding.jobs();
        if over {
            jobs.remove(&job);
        } else if let Some(place) = jobs.get_mut(&job) {
            *place = avoids;
        }
    }
}

async fn read(room: &Room, job: JobId) -> Option<Arc<Avoids>> {
    match room.queue.job(job).await {
        Ok(view) => view.and_then(|view| avoids(room, view)).map(Arc::new),
        Err(error) => {
            tracing::debug!(%error, "a lost job cannot be looked up");
            None
        }
    }
}

fn avoids(room: &Room, view: JobView) -> Option<Avoids> {
    let last = view
        .last
        .filter(|last| last.end == Some(AttemptEnd::Lost))?;
    (view.job.status == JobStatus::Queued).then_some(())?;
    Some(Avoids {
        until: last.ended_at?.plus(room.settings.lease_for),
        host: last.host,
        requirement: view.job.requirement,
    })
}
