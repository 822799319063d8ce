//! Requests that wait for something to happen to one job: its end, or more of its output.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::protocol::JobId;

type Watched = HashMap<JobId, (Arc<Notify>, usize)>;

/// Who watches which job.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Watched>);

/// A watcher of one job; it stops when dropped.
#[derive(Debug)]
pub struct Watcher<'w> {
    watch: &'w Watch,
    job: JobId,
    notify: Arc<Notify>,
}

impl Watch {
    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to watch `job`.
    pub fn on(&self, job: JobId) -> Watcher<'_> {
        let mut watched = self.watched();
        let entry = watched.entry(job).or_default();
        entry.1 += 1;
        Watcher {
            watch: self,
            job,
            notify: Arc::clone(&entry.0),
        }
    }

    /// Wakes those who watch `job`.
    pub fn wake(&self, job: JobId) {
        if let Some((notify, _)) = self.watched().get(&job) {
            notify.notify_waiters();
        }
    }

    /// Wakes everybody.
    pub fn wake_all(&self) {
        for (notify, _) in self.watched().values() {
            notify.notify_waiters();
        }
    }
}

impl Watcher<'_> {
    /// Returns what becomes ready at the next news. News from before the call do not count, so call
    /// it, enable it, and only then look.
    pub fn news(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut watched = self.watch.watched();
        if let Some(entry) = watched.get_mut(&self.job) {
            entry.1 -= 1;
            if entry.1 == 0 {
                watched.remove(&self.job);
            }
        }
    }
}
