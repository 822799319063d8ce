//! Output of services on its way from hosts to readers. In memory, bounded, and only while somebody reads.

mod inbox;
mod tap;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

pub use self::inbox::{Inbox, Word};
use self::tap::{Listener, Tap};
use crate::protocol::HostId;
use crate::protocol::api::WantedLogs;
use crate::support::clock::{Clock, SystemClock};

/// How many readers there may be at once.
const MOST: usize = 64;
/// How long a host waits for a reader that takes nothing, before the reader is dropped.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a host may take to hear that its output is wanted. It asks again and again, so this is much.
const HEAR_WITHIN: Duration = Duration::from_secs(5);
/// How long a host may then take for each piece of what it has.
const SEND_WITHIN: Duration = Duration::from_secs(15);

/// Where output comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// Which assignment.
    pub assignment: Arc<str>,
    /// Where it runs.
    pub host: HostId,
}

/// Who reads what.
#[derive(Debug)]
pub struct Relay {
    taps: Mutex<HashMap<Arc<str>, Tap>>,
    /// Greater than that of any request before, also of those before a restart.
    next: AtomicU64,
    readers: AtomicUsize,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            taps: Mutex::default(),
            next: AtomicU64::new(u64::try_from(SystemClock.now().as_millis()).unwrap_or(1)),
            readers: AtomicUsize::new(0),
        }
    }
}

impl Relay {
    fn taps(&self) -> MutexGuard<'_, HashMap<Arc<str>, Tap>> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a place for one more reader; nothing if there are too many. To be given back with
    /// [`Relay::close`].
    pub fn open(&self) -> Option<Arc<Inbox>> {
        let taken = self.readers.fetch_add(1, Ordering::Relaxed);
        if taken >= MOST {
            self.readers.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Arc::default())
    }

    /// Gives a place back. Returns the hosts that are asked for something else now.
    pub fn close(&self, inbox: &Arc<Inbox>) -> Vec<HostId> {
        self.readers.fetch_sub(1, Ordering::Relaxed);
        let sources: Vec<Source> = self.taps().values().map(|tap| tap.source.clone()).collect();
        let left = sources.into_iter().filter(|from| self.leave(from, inbox));
        left.map(|from| from.host).collect()
    }

    /// Begins to read `from`. The host is to be told.
    pub fn join(&self, from: &Source, inbox: &Arc<Inbox>, tail: u32, follow: bool) {
        let mut taps = self.taps();
        let tap = taps
            .entry(Arc::clone(&from.assignment))
            .or_insert_with(|| Tap::new(from.clone()));
        tap.join(Listener {
            inbox: Arc::clone(inbox),
            tail,
            follow,
        });
        self.go_on(tap);
    }

    /// Stops to read `from`. Tells whether its host is asked for something else now.
    pub fn leave(&self, from: &Source, inbox: &Arc<Inbox>) -> bool {
        self.changing(&from.assignment, |tap| tap.leave(inbox)).1
    }

    /// Passes on what a host sent. Tells whether more is wanted; the second value, whether it is asked for something
    /// else now.
    pub fn pour(&self, from: &Source, request: u64, bytes: &Bytes, end: bool) -> (bool, bool) {
        let (wanted, other) = self.changing(&from.assignment, |tap| {
            tap.source == *from && tap.pour(request, bytes, end)
        });
        (wanted.unwrap_or(false), other)
    }

    /// Changes a tap, sees to who waits then, and removes it when nobody is left. The second value tells whether
    /// its host is asked for something else now.
    fn changing<T>(
        &self,
        assignment: &str,
        change: impl FnOnce(&mut Tap) -> T,
    ) -> (Option<T>, bool) {
        let mut taps = self.taps();
        let Some(tap) = taps.get_mut(assignment) else {
            return (None, false);
        };
        let number = |tap: &Tap| tap.current.as_ref().map(|one| one.wanted.request);
        let before = number(tap);
        let done = change(tap);
        self.go_on(tap);
        let other = number(tap) != before;
        if tap.is_idle() {
            taps.remove(assignment);
        }
        (Some(done), other)
    }

    fn go_on(&self, tap: &mut Tap) {
        if tap.current.is_none() {
            tap.ask(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        }
    }

    /// Waits until all who listen have room for `length` more bytes, but not for ever.
    pub async fn room_for(&self, from: &Source, request: u64, length: usize) {
        let end = Instant::now() + PATIENCE;
        while let Some(full) = self.full(from, request, length) {
            let room = full.room();
            tokio::pin!(room);
            room.as_mut().enable();
            if !full.has_room(length) && timeout_at(end, room).await.is_err() {
                return;
            }
        }
    }

    fn full(&self, from: &Source, request: u64, length: usize) -> Option<Arc<Inbox>> {
        let taps = self.taps();
        let tap = taps.get(&from.assignment)?;
        let mut full = tap
            .listeners(request)
            .filter(|one| !one.inbox.has_room(length));
        full.next().map(|one| Arc::clone(&one.inbox))
    }

    /// Returns what is wanted of an assignment's output. `tells` means that its host will know.
    pub fn wanted(&self, assignment: &str, tells: bool) -> Option<WantedLogs> {
        let mut taps = self.taps();
        let current = taps.get_mut(assignment)?.current.as_mut()?;
        if tells && !std::mem::replace(&mut current.told, true) {
            current.at = Instant::now();
        }
        Some(current.wanted)
    }

    /// Returns the assignments of `host` whose output somebody reads.
    pub fn read_of(&self, host: &HostId) -> Vec<Arc<str>> {
        let taps = self.taps();
        let theirs = taps.values().filter(|tap| tap.source.host == *host);
        theirs
            .map(|tap| Arc::clone(&tap.source.assignment))
            .collect()
    }

    /// Returns what keeps the output of `from` from coming; nothing if all is well.
    pub fn trouble(&self, from: &Source) -> Option<&'static str> {
        let taps = self.taps();
        let current = taps.get(&from.assignment)?.current.as_ref()?;
        let since = current.at.elapsed();
        if !current.told && since > HEAR_WITHIN {
            Some("does not ask what is wanted of it")
        } else if current.told && !current.wanted.follow && since > SEND_WITHIN {
            Some("sends nothing")
        } else {
            None
        }
    }
}
