//! The backend connections of HTTP/1.1 of one thread that are not in use. There is no lock: each thread has its own, and a
//! connection never leaves the thread it was opened on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::channels;
use super::connect::Sender;
use crate::gateway::endpoint::Endpoint;

/// How many idle connections of one endpoint are kept.
const MOST: usize = 128;
/// How long one may lie before it is closed.
const IDLE: Duration = Duration::from_secs(50);
/// The same for a request that must not be sent twice: the shortest time after which common servers close an idle
/// connection is 5 s, and one that closes just now would take the request with it.
const FRESH: Duration = Duration::from_secs(3);
/// How often old ones are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// The idle connections of one endpoint. They belong to it and not to its address, where another process may listen
/// one day.
struct Idle {
    endpoint: Weak<Endpoint>,
    /// The one used last comes last.
    senders: Vec<(Sender, Instant)>,
}

thread_local! {
    static POOL: RefCell<HashMap<usize, Idle>> = RefCell::default();
}

/// Returns what names an endpoint among those that are known.
pub fn key(endpoint: &Arc<Endpoint>) -> usize {
    // Nobody else gets this address while somebody knows the endpoint.
    Arc::as_ptr(endpoint).addr()
}

/// Takes the idle connection that was used last, which is the least likely to be closed by now.
pub fn take(endpoint: &Arc<Endpoint>, repeatable: bool) -> Option<Sender> {
    let most = if repeatable { IDLE } else { FRESH };
    POOL.with_borrow_mut(|pool| {
        let idle = pool.get_mut(&key(endpoint))?;
        while let Some((sender, since)) = idle.senders.pop() {
            // Never waited for: it could still be sending what somebody else uploads.
            if !sender.is_ready() {
                continue;
            }
            if since.elapsed() >= most {
                // All others are older.
                if repeatable {
                    idle.senders.clear();
                } else {
                    idle.senders.push((sender, since));
                }
                return None;
            }
            return Some(sender);
        }
        None
    })
}

/// Keeps a connection that is not in use. One that still sends a request's body, or that the backend has closed, is not
/// ready and ends.
pub fn keep(endpoint: &Arc<Endpoint>, sender: Sender) {
    if !sender.is_ready() || endpoint.is_retired() {
        return;
    }
    POOL.with_borrow_mut(|pool| {
        let idle = pool.entry(key(endpoint)).or_insert_with(|| Idle {
            endpoint: Arc::downgrade(endpoint),
            senders: Vec::new(),
        });
        if idle.senders.len() < MOST {
            idle.senders.push((sender, Instant::now()));
        }
    });
}

/// Closes what has lain unused for too long, and at each change of the list what leads to endpoints that left it: a
/// service that is to end waits until nobody is connected to it. Never returns.
pub async fn sweep(mut changes: watch::Receiver<u64>) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            // Nobody can change it any more, but the ticks go on.
            Ok(()) = changes.changed() => {}
        }
        channels::sweep();
        POOL.with_borrow_mut(|pool| {
            pool.retain(|_, idle| {
                let endpoint = idle.endpoint.upgrade();
                let listed = endpoint.is_some_and(|endpoint| !endpoint.is_retired());
                idle.senders
                    .retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE);
                listed && !idle.senders.is_empty()
            });
        });
    }
}
