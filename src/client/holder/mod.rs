//! What everybody who holds leases does besides running jobs: send what they print, and hand in what came
//! of them, several at once, until the coordinator has it.

mod chunks;
mod log;
mod logs;
mod outbox;
mod session;
mod table;

pub use chunks::Chunks;
pub use log::{JobLog, Piece, Wake};
pub use logs::{Logs, send_logs};
pub use outbox::{Report, hand_in};
pub use session::Session;
pub use table::{Held, Key, Stop, Stoppable, Table, key};

use tokio::sync::MutexGuard;

use super::{Client, Error};
use crate::protocol::api::ClaimedMany;
use crate::support::clock::Timestamp;

/// Holds leases under one host id.
pub trait Holder: Sync {
    /// Returns how the coordinator is asked.
    fn client(&self) -> &Client;
    /// Returns the logs of its jobs.
    fn logs(&self) -> &Logs;
    /// Returns what is agreed with the coordinator, once it is.
    fn session(&self) -> impl Future<Output = Session> + Send;
    /// Takes note that a request worked.
    fn works(&self);
    /// Takes note that a request failed; registers again if the coordinator has forgotten the host.
    fn failed(&self, error: &Error);
    /// Takes a report whose log is sent, to be handed in.
    fn report(&self, report: Report);
    /// Takes note that a lease is over: the coordinator has the result, or does not want it.
    fn over(&self, report: &Report, kept: bool);

    /// Tells whether, after a short job, a moment may be spent on waiting for others to end.
    fn awaits_more(&self) -> bool {
        false
    }
    /// Waits, after short jobs, for as long as the slots have work at hand: the longer, the more results share
    /// a request. Tells whether there was anything to wait for.
    fn gather(&self) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }
    /// Returns what is wanted with the answer to results, if anything is.
    fn wants(&self, _session: &Session) -> Option<Wanted<'_>> {
        None
    }
    /// Takes what came of that.
    fn take(
        &self,
        _session: &Session,
        _claimed: ClaimedMany,
        _wanted: Wanted<'_>,
    ) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
    /// Takes note of how handing in went, and whether no more results wait for it.
    fn handed_in(&self, _well: bool, _all: bool) {}
}

/// A claim that goes with results.
pub struct Wanted<'h> {
    /// For how many jobs that can begin at once.
    pub max: u16,
    /// For how many more that can begin soon.
    pub ahead: u16,
    /// When it is sent, by the clock that leases are counted with.
    pub sent_at: Timestamp,
    /// The right to ask: two who ask would ask for the same slot.
    pub asking: MutexGuard<'h, ()>,
}
