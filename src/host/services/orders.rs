//! What is wanted of a service's process, heard by its thread at once.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What is wanted of an assignment. A later one never takes back an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// It runs.
    Run,
    /// It ends once its clients have left it.
    Drain {
        /// Since when.
        since: Instant,
        /// No client is waited for after this.
        until: Instant,
    },
    /// It ends at once.
    Now,
}

/// The orders for one assignment.
#[derive(Debug)]
pub(super) struct Orders {
    state: Mutex<Order>,
    wake: Option<Arc<UnixStream>>,
}

impl Orders {
    /// Returns orders to run, and what becomes readable when they change.
    pub(super) fn with_waker() -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let orders = Self {
            state: Mutex::new(Order::Run),
            wake: Some(Arc::new(ours)),
        };
        Ok((orders, theirs))
    }

    /// Returns orders that nobody has to hear.
    pub(super) fn unheard() -> Self {
        Self {
            state: Mutex::new(Order::Run),
            wake: None,
        }
    }

    /// Returns what is wanted now.
    pub(super) fn look(&self) -> Order {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what wakes the thread.
    pub(super) fn waker(&self) -> Option<Arc<UnixStream>> {
        self.wake.clone()
    }

    /// Says what is wanted.
    pub(super) fn give(&self, order: Order) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = merged(*state, order);
        if *state == next {
            return;
        }
        *state = next;
        drop(state);
        if let Some(wake) = &self.wake {
            // A full socket means that it will look anyway.
            let _ = (&**wake).write(&[1]);
        }
    }
}

/// Returns what is wanted if both are.
fn merged(known: Order, new: Order) -> Order {
    match (known, new) {
        (Order::Now, _) | (_, Order::Now) => Order::Now,
        (known, Order::Run) => known,
        (Order::Run, drain @ Order::Drain { .. }) => drain,
        // The one that began first, up to the end that comes first.
        (Order::Drain { since, until }, Order::Drain { until: other, .. }) => Order::Drain {
            since,
            until: until.min(other),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_order_is_never_taken_back() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let drain = |since, until| Order::Drain {
            since: at(since),
            until: at(until),
        };
        let table = [
            (Order::Run, Order::Run, Order::Run),
            (Order::Run, drain(0, 9), drain(0, 9)),
            (drain(0, 9), Order::Run, drain(0, 9)),
            (drain(0, 9), drain(3, 5), drain(0, 5)),
            (drain(0, 9), drain(3, 33), drain(0, 9)),
            (drain(0, 9), Order::Now, Order::Now),
            (Order::Now, drain(0, 9), Order::Now),
            (Order::Now, Order::Run, Order::Now),
        ];
        for (known, new, then) in table {
            assert_eq!(merged(known, new), then, "{known:?} {new:?}");
        }
    }
}
