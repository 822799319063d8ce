//! The connections over which jobs are pushed to a host: one, and more when more jobs run at once than a server
//! opens sessions for on one.
//!
//! How many that is, is learned from what the server refuses. A job has its seat on one of them to its end, so when
//! the host is reached in another way from now on, what still runs keeps the old connections alive.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::fleet::file::Host;
use crate::fleet::link::{Link, Links, is_one_machine, is_one_way};
use crate::ssh::connect::MOST_CHANNELS;

/// How many connections one host gets.
pub(super) const MOST_LINES: usize = 32;
/// After this a server may be taken to open as many sessions as usual again: it may count some that have just ended.
const LEARNED: Duration = Duration::from_secs(600);
/// How long a server may take to hear a goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

/// The connections to one host, all made in the same way.
pub(super) struct Lines {
    host: Arc<Host>,
    links: Links,
    state: Mutex<State>,
    /// Held by whoever opens another one.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    lines: Vec<Line>,
    /// How many jobs one connection carries, and until when that is believed.
    room: (usize, Instant),
    /// When another connection could not be had.
    failed_at: Option<Instant>,
}

#[derive(Debug)]
struct Line {
    link: Arc<Link>,
    taken: usize,
}

/// Why a job has no seat, or none any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The job may ask for another seat.
    ThisLine,
    /// The host opens no more.
    All,
}

/// The right of one job to a connection.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) link: Arc<Link>,
    lines: Arc<Lines>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines")
            .field("host", &self.host.name)
            .finish_non_exhaustive()
    }
}

impl Lines {
    /// Begins with a connection to `host`.
    pub(super) fn new(host: Arc<Host>, links: Links, first: Arc<Link>) -> Arc<Self> {
        let first = Line {
            link: first,
            taken: 0,
        };
        Arc::new(Self {
            host,
            links,
            state: Mutex::new(State {
                lines: vec![first],
                room: (MOST_CHANNELS, Instant::now()),
                failed_at: None,
            }),
            opening: tokio::sync::Mutex::default(),
        })
    }

    /// Tells whether `host` would be connected to in the same way.
    pub(super) fn lead_to(&self, host: &Host) -> bool {
        is_one_way(&self.host, host)
    }

    /// Tells whether `host` is the same machine, by all that its entry says.
    pub(super) fn are_of(&self, host: &Host) -> bool {
        is_one_machine(&self.host, host)
    }

    /// Returns how many jobs have a seat.
    pub(super) fn taken(&self) -> usize {
        self.state().lines.iter().map(|line| line.taken).sum()
    }

    /// Gives a job a seat, on another connection if those that are open have none.
    pub(super) async fn seat(self: &Arc<Self>) -> Result<Seat, Full> {
        let began = Instant::now();
        if let Some(seat) = self.free() {
            return Ok(seat);
        }
        let _turn = self.opening.lock().await;
        if let Some(seat) = self.free() {
            return Ok(seat);
        }
        let is_full = {
            let state = self.state();
            // Those who waited meanwhile would not fare better.
            state.lines.len() >= MOST_LINES || state.failed_at.is_some_and(|at| at > began)
        };
        if is_full {
            return Err(Full::All);
        }
        match self.links.open(&self.host).await {
            Ok(mut link) => {
                // It stays, and others want to connect.
                link.step_aside();
                tracing::debug!(host = %self.host.name, "one more connection for its jobs");
                Ok(self.add(Arc::new(link)))
            }
            Err(error) => {
                tracing::info!(host = %self.host.name, error = %error.chain(), "no further connection for its jobs");
                self.state().failed_at = Some(Instant::now());
                Err(Full::All)
            }
        }
    }

    /// Returns a seat on a connection that is open.
    fn free(self: &Arc<Self>) -> Option<Seat> {
        let mut state = self.state();
        // What has died is no use to anybody; whoever sits there learns it by itself.
        state.lines.retain(|line| !line.link.connection.is_closed());
        let room = state.room();
        let line = state.lines.iter_mut().find(|line| line.taken < room)?;
        line.taken += 1;
        Some(Seat {
            link: Arc::clone(&line.link),
            lines: Arc::clone(self),
        })
    }

    fn add(self: &Arc<Self>, link: Arc<Link>) -> Seat {
        self.state().lines.push(Line {
            link: Arc::clone(&link),
            taken: 1,
        });
        Seat {
            link,
            lines: Arc::clone(self),
        }
    }

    /// Says goodbye on all of them.
    pub(super) async fn close(&self) {
        let lines = std::mem::take(&mut self.state().lines);
        let goodbyes = lines.iter().map(|line| line.link.connection.close());
        let _ = timeout(GOODBYE, futures_util::future::join_all(goodbyes)).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn room(&self) -> usize {
        match self.room {
            (room, until) if Instant::now() < until => room,
            _ => MOST_CHANNELS,
        }
    }
}

impl Seat {
    /// Gives the seat back because the server opened no session for it. Of several that are refused together each
    /// counts the others that are still to be.
    pub(super) fn refused(self) -> Full {
        let lines = Arc::clone(&self.lines);
        let mut state = lines.state();
        let others = state
            .lines
            .iter()
            .find(|line| Arc::ptr_eq(&line.link, &self.link))
            .map_or(0, |line| line.taken.saturating_sub(1));
        if others > 0 {
            let room = state.room().min(others);
            state.room = (room, Instant::now() + LEARNED);
        }
        // It is given back after this.
        drop(state);
        // Not even one: it is no matter of how many.
        if others > 0 {
            Full::ThisLine
        } else {
            Full::All
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.lines.state();
        let mut lines = state.lines.iter_mut();
        if let Some(line) = lines.find(|line| Arc::ptr_eq(&line.link, &self.link)) {
            line.taken = line.taken.saturating_sub(1);
        }
    }
}
