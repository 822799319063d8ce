//! Where a host waits for news of its services.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::protocol::api::AssignmentReport;

/// One host's place.
#[derive(Debug, Default)]
pub struct Seat {
    /// Raised with every change of a service that the host has a part of.
    changes: AtomicU64,
    news: Notify,
    /// What the host last said, and how many changes there were before it was taken down.
    said: Mutex<Option<(u64, Vec<AssignmentReport>)>>,
}

impl Seat {
    /// Takes note that a service of the host changed.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.wake();
    }

    /// Wakes the host if it waits.
    pub fn wake(&self) {
        self.news.notify_waiters();
    }

    /// Returns what becomes ready at the next news. Enable it before looking.
    pub fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// Returns a mark of how things stand.
    pub fn mark(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Tells whether the host said the same before and nothing has changed since: then it need not be written again.
    pub fn knows(&self, reports: &[AssignmentReport]) -> bool {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.as_ref()
            .is_some_and(|(mark, known)| *mark == self.mark() && known == reports)
    }

    /// Takes note that this was written. `mark` is from before.
    pub fn said(&self, mark: u64, reports: Vec<AssignmentReport>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        *said = Some((mark, reports));
    }
}
