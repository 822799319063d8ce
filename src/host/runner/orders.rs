//! What those outside want of a running job: that it ends, and until when it may run at all.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::support::clock::Timestamp;

/// Why a job is to end. A later one counts more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::host) enum Stop {
    /// A person took it back, perhaps with a reason and a time for it to tidy up.
    Cancel(Option<String>, Option<Duration>),
    /// The host's owner ended it here.
    Owner,
    /// The daemon is stopping.
    Drain,
    /// The daemon is stopping and has no more time.
    Now,
    /// The lease ran out or is another's: it ends at once, and its result counts for nothing.
    Lost,
}

/// The orders for one attempt.
#[derive(Debug)]
pub(in crate::host) struct Orders {
    state: Mutex<State>,
    wake: Arc<UnixStream>,
}

#[derive(Debug, Default)]
struct State {
    stop: Option<Stop>,
    until: Option<Timestamp>,
}

impl Orders {
    /// Returns orders to run until `until` by the steady clock, or without limit.
    pub(in crate::host) fn new(until: Option<Timestamp>, wake: Arc<UnixStream>) -> Self {
        let state = State { stop: None, until };
        Self {
            state: Mutex::new(state),
            wake,
        }
    }

    /// Asks for the end.
    pub(in crate::host) fn stop(&self, why: Stop) {
        let mut state = self.state();
        if state.stop.as_ref().is_none_or(|known| *known < why) {
            state.stop = Some(why);
            drop(state);
            self.wake();
        }
    }

    /// Moves the time from which the lease may not be trusted any more.
    pub(in crate::host) fn prolong(&self, until: Option<Timestamp>) {
        // Whoever runs the job looks often enough to see it.
        self.state().until = until;
    }

    /// Returns what is wanted now.
    pub(super) fn look(&self, now: Timestamp) -> Option<Stop> {
        let state = self.state();
        if state.until.is_some_and(|until| until <= now) {
            return Some(Stop::Lost);
        }
        state.stop.clone()
    }

    /// Returns whether there is a time limit to the lease.
    pub(super) fn is_limited(&self) -> bool {
        self.state().until.is_some()
    }

    /// Lets the slot look again.
    pub(in crate::host) fn wake(&self) {
        // A full socket means that it will look anyway.
        let _ = (&*self.wake).write(&[1]);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
