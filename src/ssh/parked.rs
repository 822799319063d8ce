//! Channels of a connection that stay open between uses, because what runs at their far end can be used again.
//!
//! They give way to whoever needs a channel, and are closed when nobody has wanted them for a while. What runs in
//! them is not known here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::ssh::exec::{Event, Exec};

/// How long a channel is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(30);
/// How long what runs in a channel may take to end with its input.
const CLOSING: Duration = Duration::from_secs(5);

/// A channel that may be used again and again.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) exec: Exec<'static>,
    pub(crate) opened_at: Instant,
    /// How often it has been used.
    pub(crate) uses: u32,
}

impl Kept {
    pub(crate) fn new(exec: Exec<'static>) -> Self {
        Self {
            exec,
            opened_at: Instant::now(),
            uses: 0,
        }
    }

    /// Has what runs in it end. Its place is free when the server has closed the channel.
    pub(crate) async fn close(mut self) {
        // Closed by us, the library would not tell when the server has.
        let _ = self.exec.stdin.eof().await;
        let closed =
            async { while !matches!(self.exec.events.next().await, Ok(Event::Closed) | Err(_)) {} };
        if timeout(CLOSING, closed).await.is_err() {
            self.exec.stdin.close().await;
        }
    }

    /// Closes the channel; nobody waits for it.
    pub(crate) fn retire(self) {
        // Without a runtime the connection is gone too.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(self.close());
        }
    }
}

/// The parked channels of one connection, and whether more are worth their cost.
#[derive(Debug, Default)]
pub(crate) struct Parked(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// With the time since when each is idle, the longest first.
    idle: Vec<(Instant, Kept)>,
    /// How many wait for a channel.
    wanted: usize,
    /// How many more may be opened.
    credit: u32,
    /// The far end cannot be used again.
    useless: bool,
    /// A task looks after the idle ones.
    watched: bool,
}

impl Parked {
    /// Returns the one that was used last.
    pub(crate) fn take(&self) -> Option<Kept> {
        self.state().idle.pop().map(|(_, kept)| kept)
    }

    /// Keeps a channel for the next use, unless somebody waits for its place.
    pub(crate) fn give(&self, kept: Kept) {
        let mut state = self.state();
        if state.wanted > 0 {
            drop(state);
            return kept.retire();
        }
        let now = Instant::now();
        state.idle.push((now, kept));
        if !std::mem::replace(&mut state.watched, true) {
            tokio::spawn(watch(Arc::downgrade(&self.0), now + IDLE));
        }
    }

    /// Has parked channels give way for as long as the answer lives.
    pub(crate) fn want_place(&self) -> Wanted<'_> {
        let mut state = self.state();
        state.wanted += 1;
        let oldest = state.pop_oldest();
        drop(state);
        if let Some(kept) = oldest {
            kept.retire();
        }
        Wanted(self)
    }

    /// Closes one, if there is any.
    pub(crate) async fn give_way(&self) {
        let oldest = self.state().pop_oldest();
        if let Some(kept) = oldest {
            kept.close().await;
        }
    }

    /// Takes note that one more is worth its cost: more commands come than slots run at once.
    pub(crate) fn earn(&self) {
        let mut state = self.state();
        state.credit = state.credit.saturating_add(1);
    }

    /// Tells whether one may be opened, and counts it.
    pub(crate) fn spend(&self) -> bool {
        let mut state = self.state();
        if state.useless || state.credit == 0 {
            return false;
        }
        state.credit -= 1;
        true
    }

    /// Opens none any more.
    pub(crate) fn forbid(&self) {
        self.state().useless = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pop_oldest(&mut self) -> Option<Kept> {
        (!self.idle.is_empty()).then(|| self.idle.remove(0).1)
    }
}

/// Somebody waits for a channel.
pub(crate) struct Wanted<'p>(&'p Parked);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.wanted = state.wanted.saturating_sub(1);
    }
}

/// Closes what nobody has used for a while, until nothing is parked.
async fn watch(parked: Weak<Mutex<State>>, mut until: Instant) {
    loop {
        sleep_until(until).await;
        // The connection is gone.
        let Some(parked) = parked.upgrade() else {
            return;
        };
        let mut state = parked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while let Some((since, _)) = state.idle.first() {
            if *since + IDLE > now {
                break;
            }
            if let Some(kept) = state.pop_oldest() {
                kept.retire();
            }
        }
        match state.idle.first() {
            Some((since, _)) => until = *since + IDLE,
            None => {
                state.watched = false;
                return;
            }
        }
    }
}
