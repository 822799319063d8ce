//! What those outside want of a running job: that it ends, and until when it may run at all.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client::holder::{Stop, Stoppable};
use crate::support::clock::Timestamp;

/// The orders for one attempt.
#[derive(Debug)]
pub(in crate::host) struct Orders {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stop: Option<Stop>,
    until: Option<Timestamp>,
    /// Wakes the slot, once there is one.
    wake: Option<Arc<UnixStream>>,
}

impl Orders {
    /// Returns orders to run until `until` by the steady clock, or without limit.
    pub(in crate::host) fn new(until: Option<Timestamp>) -> Self {
        let state = State {
            until,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// Says which slot is to hear of them. What was said before it sees when it looks first.
    pub(super) fn reach(&self, wake: &Arc<UnixStream>) {
        self.state().wake.get_or_insert_with(|| Arc::clone(wake));
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
        let wake = self.state().wake.clone();
        if let Some(wake) = wake {
            // A full socket means that it will look anyway.
            let _ = (&*wake).write(&[1]);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stoppable for Orders {
    fn stop(&self, why: Stop) {
        let mut state = self.state();
        if state.stop.as_ref().is_none_or(|known| *known < why) {
            state.stop = Some(why);
            drop(state);
            self.wake();
        }
    }

    fn prolong(&self, until: Option<Timestamp>) {
        // Whoever runs the job looks often enough to see it.
        self.state().until = until;
    }
}
