//! Connections through tunnels: with the last one of a host that was at work, its daemon is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::{Caller, Room};

/// A daemon that lost its connections comes back sooner than this.
const COMES_BACK: Duration = Duration::from_secs(3);

/// How many there are of each host, by its name, and how often there were none.
#[derive(Debug, Default)]
pub struct Streams(Mutex<HashMap<String, Count>>);

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    open: u32,
    ends: u64,
}

impl Streams {
    fn counts(&self) -> MutexGuard<'_, HashMap<String, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection through a tunnel, as long as this value lives.
pub struct Open {
    room: Arc<Room>,
    name: String,
}

/// Counts a connection of `caller`, if it comes through a tunnel.
pub fn open(room: &Arc<Room>, caller: &Caller) -> Option<Open> {
    let Caller::Host { name, .. } = caller else {
        return None;
    };
    room.streams.counts().entry(name.clone()).or_default().open += 1;
    Some(Open {
        room: Arc::clone(room),
        name: name.clone(),
    })
}

impl Drop for Open {
    fn drop(&mut self) {
        let ends = {
            let mut counts = self.room.streams.counts();
            let Some(count) = counts.get_mut(&self.name) else {
                return;
            };
            count.open = count.open.saturating_sub(1);
            if count.open > 0 {
                return;
            }
            count.ends += 1;
            count.ends
        };
        // Not while the runtime itself ends.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (room, name) = (Arc::downgrade(&self.room), std::mem::take(&mut self.name));
        let parts = self.room.parts.clone();
        runtime.spawn(parts.watched("the watch over tunnels", async move {
            sleep(COMES_BACK).await;
            // The coordinator may have ended meanwhile.
            let Some(room) = room.upgrade() else {
                return;
            };
            let still = {
                let mut counts = room.streams.counts();
                let still = counts
                    .get(&name)
                    .is_some_and(|count| count.open == 0 && count.ends == ends);
                if still {
                    counts.remove(&name);
                }
                still
            };
            if still {
                room.presence
                    .deserted(&name, |id| room.leases.count(id) > 0);
            }
        }));
    }
}
