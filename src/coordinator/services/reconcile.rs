//! Keeps services where they should be: asks the queue to place them whenever something may have to move. Without
//! services it sleeps, and while nothing changes it writes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::coordinator::Room;
use crate::coordinator::presence::Silence;
use crate::queue::{self, ServiceHost};

/// How often is looked which hosts fell silent.
const TICK: Duration = Duration::from_secs(1);
/// A look that is late by so much was not waited for: the machine slept, or this process was stopped. Nobody could
/// be heard meanwhile.
const AWAY: Duration = Duration::from_secs(5);
/// How long the same picture is left alone: what failed somewhere may be tried there again after a while.
const AGAIN: Duration = Duration::from_secs(15);
/// Hosts of the original are silent for longer before they count as dead.
const ORIGINAL: Duration = Duration::from_secs(5);

/// What was placed by.
#[derive(Debug, PartialEq, Eq)]
struct Picture {
    hosts: Vec<ServiceHost>,
    changes: u64,
}

/// Places services as long as the coordinator runs.
pub async fn run(room: Arc<Room>) {
    let mut heard_since = Instant::now();
    let mut last: Option<(Picture, Instant)> = None;
    loop {
        let due = room.desk.due.notified();
        if room.desk.count() == 0 {
            due.await;
            // None was looked for meanwhile, so none was missed.
        } else {
            let began = Instant::now();
            let _ = timeout(TICK, due).await;
            if began.elapsed() > TICK + AWAY {
                heard_since = Instant::now();
            }
        }
        if let Err(error) = round(&room, heard_since, &mut last).await {
            tracing::warn!(%error, "services could not be placed");
            room.storage.failed(&error);
            sleep(TICK).await;
        }
    }
}

async fn round(
    room: &Room,
    heard_since: Instant,
    last: &mut Option<(Picture, Instant)>,
) -> Result<(), queue::Error> {
    let silence = room.settings.service_silence;
    let picture = Picture {
        hosts: room.presence.for_services(
            heard_since,
            Silence {
                syncing: silence,
                original: silence + ORIGINAL,
            },
        ),
        changes: room.desk.changes.load(Ordering::Relaxed),
    };
    if let Some((before, at)) = last
        && *before == picture
        && at.elapsed() < AGAIN
    {
        return Ok(());
    }
    // What is not there after this, and was before it, is gone.
    let known: BTreeSet<String> = room.desk.all().iter().map(|one| one.id.clone()).collect();
    if known.is_empty() {
        *last = None;
        return Ok(());
    }
    let node = room.settings.node_id.clone();
    let placed = room
        .queue
        .place_services(picture.hosts.clone(), node)
        .await?;
    *last = Some((picture, Instant::now()));
    room.services_changed(&placed);
    let there = room.queue.services().await?;
    room.services_changed(&there);
    let there: BTreeSet<&String> = there.iter().map(|one| &one.id).collect();
    for gone in known.iter().filter(|id| !there.contains(id)) {
        room.service_gone(gone);
    }
    Ok(())
}
