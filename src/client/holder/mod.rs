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

use super::{Client, Error};

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
}
