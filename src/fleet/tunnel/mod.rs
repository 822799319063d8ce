//! One host's tunnel: a way for its daemon to the controller through the controller's own SSH connection.
//!
//! It is kept up for ever. The host's sshd listens on a Unix socket in a private directory of our user
//! there, or where it does not want to, on a loopback port; a file beside it tells the daemon where.

mod error;
mod state;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

pub use error::Error;
pub use state::State;

use crate::fleet::file::{Host, HostName};
use crate::fleet::link::Links;
use crate::fleet::seat::ControllerId;
use crate::ssh::forward::Stream;
use crate::support::secret::Secret;
use crate::support::shutdown::Shutdown;

/// What a host's tunnel is made of.
#[derive(Debug, Clone)]
pub struct Tunnel {
    /// The host.
    pub host: Arc<Host>,
    /// How it is connected to. A tunnel holds no place of the fan-out while it is up.
    pub links: Links,
    /// Whose daemon it is for.
    pub controller: ControllerId,
    /// Where its streams go.
    pub visits: mpsc::Sender<Visit>,
}

/// A stream that the daemon of a host opened.
#[derive(Debug)]
pub struct Visit {
    /// Which host. Only its user and that machine's root can open streams, but see `token`.
    pub host: HostName,
    /// Talks HTTP.
    pub stream: Stream,
    /// What each request on it must show: the stream came through a port, which everybody on that machine
    /// can open.
    pub token: Option<Secret>,
}

impl Tunnel {
    /// Starts to keep the tunnel up until `shutdown` or until nobody takes its streams any more; then takes
    /// it down, which leaves nothing on the host. The task ends when that is done.
    pub fn start(
        self,
        shutdown: Shutdown,
    ) -> (watch::Receiver<State>, tokio::task::JoinHandle<()>) {
        let (state, watched) = watch::channel(State::Connecting);
        (watched, tokio::spawn(self.run(shutdown, state)))
    }

    /// The same in the task of the caller.
    pub async fn run(self, mut shutdown: Shutdown, state: watch::Sender<State>) {
        shutdown
            .reached(crate::support::shutdown::Urgency::Stop)
            .await;
        state.send_replace(State::Gone);
    }
}
