//! One host's tunnel: a way for its daemon to the controller through the controller's own SSH connection.
//!
//! It is kept up for ever. The host's sshd listens on a Unix socket in a private directory of our user
//! there, or where it does not want to, on a loopback port; a file beside it tells the daemon where.
//! While nobody uses it, nothing but signs of life is sent.

mod error;
mod outlets;
mod place;
mod state;
mod way;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

pub use error::Error;
pub use outlets::Outlets;
pub use state::State;

use crate::fleet::file::{Host, HostName};
use crate::fleet::link::{Link, Links};
use crate::fleet::seat::ControllerId;
use crate::ssh::forward::Stream;
use crate::support::backoff::Backoff;
use crate::support::clock::{Clock, SystemClock};
use crate::support::secret::Secret;
use crate::support::shutdown::{Shutdown, Urgency};
use way::Way;

/// The first wait after a failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A host that does not know us, or that we do not know, is not asked more often: its server may take
/// many logins in vain for an attack, and only a person can change it.
const STRANGERS_WAIT: Duration = Duration::from_secs(300);
/// A tunnel that was up for less has not recovered.
const RECOVERED: Duration = Duration::from_secs(10);
/// How long making or removing it on a connected host may take.
const LIMIT: Duration = Duration::from_secs(60);
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What a host's tunnel is made of.
#[derive(Debug, Clone)]
pub struct Tunnel {
    /// The host.
    pub host: Arc<Host>,
    /// How it is connected to. While it is up it holds no place of the fan-out. Without a keepalive a
    /// connection that dies in silence is noticed only by the system.
    pub links: Links,
    /// Whose daemon it is for.
    pub controller: ControllerId,
    /// Where its streams go.
    pub visits: mpsc::Sender<Visit>,
    /// What leads through its connection to services on the host while it is up.
    pub outlets: Outlets,
}

/// A stream that somebody on a host opened: its daemon, by all we know.
#[derive(Debug)]
pub struct Visit {
    /// Which host.
    pub host: HostName,
    /// Talks HTTP.
    pub stream: Stream,
    /// What each request on it must show: the stream came through a port, which everybody on that machine
    /// can open. Without one it came through the socket, which only our user there and root can.
    pub token: Option<Secret>,
}

/// What ended a wait.
enum Ended {
    /// Nobody wants the tunnel any more.
    Unwanted,
    /// The connection is gone.
    Lost,
}

impl Tunnel {
    /// Starts to keep the tunnel up until `shutdown` or until nobody takes its streams any more. Then it is
    /// taken down, which leaves nothing on the host, and the task ends.
    pub fn start(self, shutdown: Shutdown) -> (watch::Receiver<State>, JoinHandle<()>) {
        let (state, watched) = watch::channel(State::Connecting);
        (watched, tokio::spawn(self.run(shutdown, state)))
    }

    /// The same in the task of the caller.
    pub async fn run(self, mut shutdown: Shutdown, state: watch::Sender<State>) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            state.send_replace(State::Connecting);
            let (error, was_up) = match self.once(&mut shutdown, &state).await {
                Ok(()) => break,
                Err(down) => down,
            };
            if was_up >= RECOVERED {
                backoff.reset();
            }
            let wait = match error.is_strange() {
                true => crate::support::backoff::jittered(STRANGERS_WAIT),
                false => backoff.after_failure(),
            };
            tracing::debug!(host = %self.host.name, error = %error.chain(), ?wait, "tunnel is down");
            state.send_replace(State::Down {
                error: Arc::new(error),
                retry_at: SystemClock.now().plus(wait),
            });
            tokio::select! {
                () = self.unwanted(&mut shutdown) => break,
                () = sleep(wait) => {}
            }
        }
        state.send_replace(State::Gone);
    }

    /// Makes the tunnel and serves it. Fails with how long it was up; returns when nobody wants it any more.
    async fn once(
        &self,
        shutdown: &mut Shutdown,
        state: &watch::Sender<State>,
    ) -> Result<(), (Error, Duration)> {
        let never_up = |error| (error, Duration::ZERO);
        let mut link = tokio::select! {
            () = self.unwanted(shutdown) => return Ok(()),
            link = self.links.open(&self.host) => link.map_err(|error| never_up(error.into()))?,
        };
        link.step_aside();
        let opening = Way::open(&link.connection, &self.controller);
        tokio::pin!(opening);
        let opened = tokio::select! {
            opened = timeout(LIMIT, &mut opening) => opened,
            () = self.unwanted(shutdown) => {
                // What is made halfway is removed only by those who know of it.
                if let Ok(Ok(way)) = timeout(CLOSE_LIMIT, opening).await {
                    self.take_down(&link, way).await;
                }
                return Ok(());
            }
        };
        let mut way = match opened {
            Ok(way) => way.map_err(never_up)?,
            Err(_) => return Err(never_up(Error::Slow { limit: LIMIT })),
        };
        let since = Instant::now();
        let _up = self.outlets.up(&self.host.name, &link.connection);
        tracing::debug!(host = %self.host.name, at = %way.at(), "tunnel is up");
        state.send_replace(State::Up {
            since: SystemClock.now(),
            at: way.at().clone(),
        });
        match self.serve(&mut way, shutdown).await {
            Ended::Lost => Err((link.connection.closed().await.into(), since.elapsed())),
            Ended::Unwanted => {
                self.take_down(&link, way).await;
                Ok(())
            }
        }
    }

    /// Hands out streams.
    async fn serve(&self, way: &mut Way, shutdown: &mut Shutdown) -> Ended {
        loop {
            let stream = tokio::select! {
                () = self.unwanted(shutdown) => return Ended::Unwanted,
                stream = way.accept() => match stream {
                    Some(stream) => stream,
                    None => return Ended::Lost,
                },
            };
            let visit = Visit {
                host: self.host.name.clone(),
                stream,
                token: way.token().cloned(),
            };
            tokio::select! {
                () = self.unwanted(shutdown) => return Ended::Unwanted,
                _ = self.visits.send(visit) => {}
            }
        }
    }

    async fn take_down(&self, link: &Link, way: Way) {
        match timeout(CLOSE_LIMIT, way.close(&link.connection)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(host = %self.host.name, error = %error.chain(), "something of the tunnel may be left there");
            }
            Err(_) => {
                tracing::warn!(host = %self.host.name, "something of the tunnel may be left there: it did not answer");
            }
        }
        let _ = timeout(CLOSE_LIMIT, link.connection.close()).await;
    }

    async fn unwanted(&self, shutdown: &mut Shutdown) {
        tokio::select! {
            () = shutdown.reached(Urgency::Stop) => {}
            () = self.visits.closed() => {}
        }
    }
}
