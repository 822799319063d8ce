//! Push workers: each drains a coordinator's queue for one SSH host, as a daemon on that host would, and
//! runs the jobs over one held connection.
//!
//! To the coordinator such a host is one like any other: it registers under its name in the fleet file, waits in
//! a long poll, renews its leases and hands in results. While its connection is down it stays registered and
//! says why it takes no work.

mod claim;
mod core;
mod crew;
mod crowd;
#[cfg(test)]
mod fixture;
mod heartbeat;
mod job;
mod lines;
mod look;
mod orders;
mod pull;
mod register;
mod roll;
mod task;
mod view;
mod worker;

use std::time::Duration;

use tokio::sync::mpsc;

use crate::client::Client;
use crate::fleet::link::Links;
use crate::fleet::tunnel::{Outlets, Visit};
use crate::protocol::api::Instance;

pub use crew::{Crew, Window};
pub use view::{Happened, Hook, State, View};

/// What all workers of a controller share.
pub struct Means {
    /// The coordinator whose queue is drained.
    pub client: Client,
    /// How hosts are reached.
    pub links: Links,
    /// Who speaks for the hosts.
    pub instance: Instance,
    /// How long running jobs may go on when a worker stops.
    pub drain: Duration,
    /// Takes the streams of daemons that pull; without it such hosts are left alone.
    pub visits: Option<mpsc::Sender<Visit>>,
    /// What leads to services on hosts whose daemons pull.
    pub outlets: Outlets,
    /// Is told what happens; must not block.
    pub tell: Hook,
}

/// What is in the way of a worker and cannot be mended by waiting is said in its [`State`]; a worker never fails.
impl std::fmt::Debug for Means {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Means")
            .field("client", &self.client)
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}
