//! Proven connections that are not in use. Each serves one request at a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Link;
use crate::queue::cluster::MemberId;

/// How many idle ones are kept for one place.
const MOST: usize = 64;
/// How long one may lie. The other side closes it after 30 s; one that it closes just now would take a request with it.
const IDLE: Duration = Duration::from_secs(20);
/// How often old ones are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// The task of a connection may still be at the end of the last answer.
const READY_WITHIN: Duration = Duration::from_millis(250);

/// All idle connections.
#[derive(Default)]
pub struct Pool {
    /// The one used last comes last.
    idle: Mutex<HashMap<String, Vec<(Link, Instant)>>>,
    sweeping: AtomicBool,
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, HashMap<String, Vec<(Link, Instant)>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an idle connection to this place, and only to `member` if one is meant.
    pub async fn take(&self, key: &str, member: Option<MemberId>) -> Option<Link> {
        loop {
            let (mut link, since) = self.idle().get_mut(key)?.pop()?;
            let fits = member.is_none_or(|member| link.to == member);
            if fits && since.elapsed() < IDLE && link.is_ready_within(READY_WITHIN).await {
                link.reused = true;
                return Some(link);
            }
        }
    }

    /// Keeps a connection whose last answer was read to its end.
    pub fn put(self: &Arc<Self>, link: Link) {
        if link.is_closed() {
            return;
        }
        {
            let mut idle = self.idle();
            let links = idle.entry(link.key().to_owned()).or_default();
            if links.len() >= MOST {
                return;
            }
            links.push((link, Instant::now()));
        }
        // Not while the runtime itself ends.
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !self.sweeping.swap(true, Ordering::AcqRel)
        {
            runtime.spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes those that lead to `member`.
    pub fn forget(&self, member: MemberId) {
        for links in self.idle().values_mut() {
            links.retain(|(link, _)| link.to != member);
        }
    }

    /// Closes old ones. Tells whether any are left.
    fn close_old(&self) -> bool {
        let mut idle = self.idle();
        idle.retain(|_, links| {
            links.retain(|(link, since)| !link.is_closed() && since.elapsed() < IDLE);
            !links.is_empty()
        });
        let left = !idle.is_empty();
        if !left {
            // Still under the lock: whoever puts one back after this starts another.
            self.sweeping.store(false, Ordering::Release);
        }
        left
    }
}

async fn sweep(pool: std::sync::Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        match pool.upgrade() {
            Some(pool) if pool.close_old() => {}
            Some(_) | None => return,
        }
    }
}
