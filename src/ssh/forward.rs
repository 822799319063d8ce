//! Reverse forwards: the server listens on a Unix socket or a loopback port and hands us each connection
//! that somebody on its machine makes there. And streams the other way, to ports of the host.
//!
//! What the server opens unasked is refused. The SSH library acknowledges what it has handed over, not
//! what was read, so a slow reader cannot slow its sender down; what it leaves unread is kept up to a
//! limit, past which its stream, and nothing else, is closed.

mod dialer;
mod doors;
mod stream;
mod wire;

use std::fmt;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::ssh::connect::Connection;
use crate::ssh::error::Error;
use crate::ssh::shell::{Code, Marker, command_line, header};

pub use dialer::Dialer;
pub(super) use doors::{Arrival, Doors};
pub use stream::Stream;

/// Only on its own machine.
const LOOPBACK: &str = "127.0.0.1";
/// The longest path of a Unix socket that every system takes, in bytes.
const LONGEST_PATH: usize = 103;
const TEMPLATE: &str = include_str!("../../templates/path-exists.sh");
/// What that may say, login scripts included.
const MOST_SAID: usize = 64 << 10;

/// How much one forward may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Streams open at once; one more is refused.
    pub streams: usize,
    /// What one stream may have unread, in bytes.
    pub unread: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 64,
            unread: 17 << 20,
        }
    }
}

/// Where a server listens for us.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// A Unix socket at this path.
    Socket(String),
    /// A TCP port of its loopback address.
    Port(u16),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => f.write_str(path),
            Self::Port(0) => f.write_str("a port of its loopback address"),
            Self::Port(port) => write!(f, "{LOOPBACK}:{port}"),
        }
    }
}

/// Why a server does not listen for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It does not want to: its settings, or those of our key.
    Policy,
    /// Somebody has the path or the port.
    InUse,
    /// No system takes a path this long for a socket.
    TooLong,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Policy => {
                "its settings or those of our key do not allow it, or it cannot write there"
            }
            Self::InUse => "it is in use",
            Self::TooLong => "the path is too long for a socket",
        })
    }
}

/// A place where the server listens for us. Dropping it refuses further streams; those that are open
/// go on. [`Connection::cancel_forward`] also tells the server.
#[derive(Debug)]
pub struct Forward {
    place: Place,
    streams: mpsc::Receiver<Stream>,
    doors: Arc<Doors>,
}

impl Forward {
    /// Waits for the next stream. None = the connection is gone; [`Connection::closed`] says why.
    ///
    /// Cancel safe.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.streams.recv().await
    }

    /// Returns where the server listens.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.doors.close(&self.place);
    }
}

impl Connection {
    /// Has the server listen on a Unix socket. Its server makes the file and does not remove it.
    ///
    /// # Errors
    /// [`Error::ForwardRefused`], or [`Error::Lost`] when the connection died.
    pub async fn forward_socket(&self, path: &str, limits: Limits) -> Result<Forward, Error> {
        let place = Place::Socket(path.to_owned());
        if path.len() > LONGEST_PATH {
            return Err(refused(&place, Refusal::TooLong));
        }
        let forward = self.open_door(&place, limits)?;
        match self.handle().streamlocal_forward(path).await {
            Ok(()) => Ok(forward),
            Err(russh::Error::RequestDenied) => {
                // Servers refuse without a reason.
                let why = if self.exists(path).await? {
                    Refusal::InUse
                } else {
                    Refusal::Policy
                };
                Err(refused(&place, why))
            }
            Err(_) => Err(self.lost()),
        }
    }

    /// Has the server listen on a port of its loopback address; 0 = one that the server chooses.
    ///
    /// # Errors
    /// [`Error::ForwardRefused`], or [`Error::Lost`] when the connection died.
    pub async fn forward_port(&self, port: u16, limits: Limits) -> Result<Forward, Error> {
        let place = Place::Port(port);
        let mut forward = self.open_door(&place, limits)?;
        match self.handle().tcpip_forward(LOOPBACK, port.into()).await {
            Ok(given) if port == 0 => match u16::try_from(given) {
                Ok(given) if given > 0 => {
                    forward.place = self.doors().named(given);
                    Ok(forward)
                }
                // It listens and does not say where.
                _ => Err(refused(&place, Refusal::Policy)),
            },
            Ok(_) => Ok(forward),
            Err(russh::Error::RequestDenied) => {
                drop(forward);
                let why = if port != 0 && self.gives_ports().await {
                    Refusal::InUse
                } else {
                    Refusal::Policy
                };
                Err(refused(&place, why))
            }
            Err(_) => Err(self.lost()),
        }
    }

    /// Has the server listen there no longer. Streams that are open go on.
    ///
    /// # Errors
    /// [`Error::Lost`] when the connection died, after which it does not listen either.
    pub async fn cancel_forward(&self, forward: Forward) -> Result<(), Error> {
        let handle = self.handle();
        let cancelled = match forward.place() {
            Place::Socket(path) => handle.cancel_streamlocal_forward(path).await,
            Place::Port(port) => handle.cancel_tcpip_forward(LOOPBACK, (*port).into()).await,
        };
        match cancelled {
            // It refuses what it does not know: then it does not listen.
            Ok(()) | Err(russh::Error::RequestDenied) => Ok(()),
            Err(_) => Err(self.lost()),
        }
    }

    fn open_door(&self, place: &Place, limits: Limits) -> Result<Forward, Error> {
        let doors = self.doors();
        let streams = doors
            .open(place, limits)
            .ok_or_else(|| refused(place, Refusal::InUse))?;
        Ok(Forward {
            place: place.clone(),
            streams,
            doors: Arc::clone(doors),
        })
    }

    /// Tells whether the server gives us any port at all.
    async fn gives_ports(&self) -> bool {
        match self.handle().tcpip_forward(LOOPBACK, 0).await {
            Ok(port) => {
                let _ = self.handle().cancel_tcpip_forward(LOOPBACK, port).await;
                true
            }
            Err(_) => false,
        }
    }

    /// Tells whether there is something at `path`.
    async fn exists(&self, path: &str) -> Result<bool, Error> {
        let marker = Marker::fresh();
        let code = Code::new().raw("p=").word(path.as_bytes());
        let line = command_line(TEMPLATE);
        let said = match self.run(&line, header(&marker, [code]), MOST_SAID).await {
            Ok(said) => said,
            Err(error @ (Error::Lost { .. } | Error::Silent { .. })) => return Err(error),
            // A server that runs nothing for us can still forward.
            Err(_) => return Ok(false),
        };
        let yes = format!("{} yes", marker.reply());
        Ok(String::from_utf8_lossy(&said.stdout).contains(&yes))
    }
}

fn refused(place: &Place, why: Refusal) -> Error {
    Error::ForwardRefused {
        place: place.clone(),
        why,
    }
}
