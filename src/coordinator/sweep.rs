//! What happens by itself: leases run out, waits end, hosts fall silent, old jobs go.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Room, alone};
use crate::protocol::api::Event;
use crate::queue::sweeper;
use crate::support::clock::{Clock, SteadyClock};

/// How long an alarm may be late that another process has set. A little more than a second, after
/// which the queue takes itself for idle and empties its log.
const TICK: Duration = Duration::from_millis(1200);
/// A round that is late by so much was not waited for: the machine slept, or this process was stopped.
const AWAY: Duration = Duration::from_secs(4);
/// Short leases may run out sooner than that. By less than this a round may be late on any busy machine.
const BUSY: Duration = Duration::from_millis(300);
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// A host that was silent for so long is forgotten.
const HOST_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// So long after the start every host that is there was heard of.
const HEARD_WITHIN: Duration = Duration::from_secs(600);

/// Lets happen what is due, as long as the coordinator runs.
pub async fn expire(room: Arc<Room>) {
    let clock = SteadyClock::start();
    let mut was_away = false;
    loop {
        let expired = async {
            if was_away {
                tracing::info!("back after a while: every lease gets a fresh lease time");
                room.reprieve().await?;
                was_away = false;
            }
            room.queue.expire_due().await
        };
        let wait = match expired.await {
            Ok(expired) => expired.next_due.map_or(TICK, |due| due.since(room.now())),
            Err(error) => {
                tracing::warn!(%error, "what is due could not be seen to");
                room.storage.failed(&error);
                TICK
            }
        };
        if room.storage.is_failing() {
            probe(&room).await;
        }
        // Not at once again, even if something is due this very moment.
        let wait = wait.clamp(Duration::from_millis(5), TICK);
        let since = clock.now();
        let _ = timeout(wait, room.alarm.notified()).await;
        // Nobody could renew meanwhile, as before a start.
        let late = clock.now().since(since).saturating_sub(wait);
        was_away |= late > away(room.settings.lease_for);
    }
}

/// Returns by how much a round must be late for nobody to have been here: before leases run out that were just
/// renewed, which is when a third of their time is over.
fn away(lease_for: Duration) -> Duration {
    AWAY.min(lease_for / 3).max(BUSY)
}

/// Finds out whether writing works again. Asking for what is there already still reaches the disk.
async fn probe(room: &Room) {
    if room.queue.set_paused(room.is_paused()).await.is_ok() {
        room.storage.works();
    }
}

/// Forgets what is old, as long as the coordinator runs.
pub async fn prune(room: Arc<Room>) {
    loop {
        let now = room.now();
        let rule = &room.settings.retention;
        match sweeper::prune_all(&room.queue, rule, now).await {
            Ok(gone) if gone.jobs > 0 => tracing::info!(jobs = gone.jobs, "old jobs were removed"),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "old jobs could not be removed");
                room.storage.failed(&error);
            }
        }
        // A new leader has heard of nobody yet, and a host may have registered long ago.
        let heard = room.started.elapsed() >= HEARD_WITHIN;
        for id in room
            .presence
            .silent_for(HOST_KEPT, now)
            .into_iter()
            .filter(|_| heard)
        {
            if room.queue.forget_host(id.clone()).await.is_ok() {
                room.presence.forget(&id);
                room.desk.forget(&id);
            }
        }
        sleep(PRUNE_EVERY).await;
    }
}

/// Notices hosts that fell silent, and jobs that only one of them could run, as long as the coordinator runs.
pub async fn presence(room: Arc<Room>) {
    loop {
        sleep(TICK).await;
        for (host_id, state) in room.presence.fallen_silent() {
            let word = state.as_str();
            tracing::info!(host = %host_id, state = word, "a host fell silent");
            room.tell(Event::HostChanged {
                at: room.now(),
                host_id,
                state: word.to_owned(),
            });
        }
        alone::look(&room).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_counts_before_the_leases_of_those_who_renew_run_out() {
        for (lease_ms, away_ms) in [(60_000, 4000), (12_000, 4000), (3000, 1000), (500, 300)] {
            let lease_for = Duration::from_millis(lease_ms);
            assert_eq!(away(lease_for).as_millis(), away_ms, "{lease_ms}");
        }
    }
}
