//! A live connection: how many channels it carries, and how it ends.

use std::sync::{Arc, Weak};
use std::time::Duration;

use russh::client::{Handle, Msg};
use russh::{Channel, ChannelStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep};

use crate::ssh::config::Target;
use crate::ssh::error::Error;
use crate::ssh::forward::Doors;
use crate::ssh::guard::{Fate, Guard};
use crate::ssh::jump;
use crate::ssh::pace::Path;
use crate::ssh::parked::Parked;

/// Channels open at once on one connection, under the `MaxSessions 10` of a stock sshd.
pub const MOST_CHANNELS: usize = 8;
/// One more for short questions: whether a task has left something behind is asked while tasks hold
/// all the others.
const SPARE_CHANNELS: usize = 1;
/// A channel that the server refuses is asked for again this long: it counts a session until all that
/// it left behind is gone, which may be after we have closed it.
const CHANNEL_PATIENCE: Duration = Duration::from_secs(5);
const CHANNEL_PAUSE: Duration = Duration::from_millis(20);

/// What channels need of their connection.
#[derive(Clone)]
pub(super) struct Line {
    handle: Arc<Handle<Guard>>,
    fate: Arc<Fate>,
}

impl Line {
    pub(super) fn new(handle: Handle<Guard>, fate: Arc<Fate>) -> Self {
        let handle = Arc::new(handle);
        Self { handle, fate }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    pub(super) fn lost(&self) -> Error {
        self.fate.error()
    }

    /// Returns what it is made of, for those who must not keep the connection.
    pub(super) fn ends(&self) -> (Weak<Handle<Guard>>, Arc<Fate>) {
        (Arc::downgrade(&self.handle), Arc::clone(&self.fate))
    }
}

/// A live, authenticated connection. Dropping it closes it.
pub struct Connection {
    line: Line,
    parked: Parked,
    channels: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    pub(super) path: Arc<Path>,
    doors: Arc<Doors>,
    life: watch::Receiver<()>,
    /// The jump host's connection that this one goes through: it must not close before.
    _through: Option<Arc<Connection>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(
        line: Line,
        (path, doors): (Arc<Path>, Arc<Doors>),
        life: watch::Receiver<()>,
        through: Option<Arc<Self>>,
    ) -> Self {
        Self {
            line,
            parked: Parked::default(),
            channels: Arc::new(Semaphore::new(MOST_CHANNELS)),
            spare: Arc::new(Semaphore::new(SPARE_CHANNELS)),
            path,
            doors,
            life,
            _through: through,
        }
    }

    /// Tells whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.line.is_closed()
    }

    /// Waits until the connection is gone. Returns why.
    pub async fn closed(&self) -> Error {
        // Nothing is ever sent: only the end of the sender can be seen.
        let _ = self.life.clone().changed().await;
        self.lost()
    }

    /// Says goodbye. The server ends everything that still runs on this connection.
    pub async fn close(&self) {
        let _ = self
            .line
            .handle
            .disconnect(russh::Disconnect::ByApplication, "", "")
            .await;
    }

    /// Opens a stream from the host to a port of another that it can reach.
    pub(super) async fn reach(&self, target: &Target) -> Result<ChannelStream<Msg>, Error> {
        let opened = self
            .line
            .handle
            .channel_open_direct_tcpip(&target.host, target.port.into(), "127.0.0.1", 0)
            .await;
        match opened {
            Ok(channel) => Ok(channel.into_stream()),
            Err(russh::Error::ChannelOpenFailure(why)) => Err(Error::Tcp {
                address: format!("{}:{} from the jump host", target.host, target.port),
                source: jump::refused(why),
            }),
            Err(_) => Err(self.lost()),
        }
    }

    /// Waits for the right to open a channel. Those that are only parked give way.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(place) = Arc::clone(&self.channels).try_acquire_owned() {
            return Ok(place);
        }
        let _wanted = self.parked.want_place();
        self.acquire(&self.channels).await
    }

    /// Waits for the right to open a channel for a moment.
    pub(super) async fn short_place(&self) -> Result<OwnedSemaphorePermit, Error> {
        match Arc::clone(&self.channels).try_acquire_owned() {
            Ok(place) => Ok(place),
            Err(_) => self.acquire(&self.spare).await,
        }
    }

    async fn acquire(&self, places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Error> {
        // The semaphore is never closed.
        let place = Arc::clone(places).acquire_owned().await;
        place.map_err(|_| self.lost())
    }

    /// Returns the channels that stay open between uses.
    pub(crate) fn parked(&self) -> &Parked {
        &self.parked
    }

    pub(super) fn line(&self) -> Line {
        self.line.clone()
    }

    pub(super) async fn open_channel(&self) -> Result<Channel<Msg>, Error> {
        let patient_until = Instant::now() + CHANNEL_PATIENCE;
        let mut pause = CHANNEL_PAUSE;
        loop {
            let asked = Instant::now();
            let why = match self.line.handle.channel_open_session().await {
                Ok(channel) => {
                    self.path.answered(asked.elapsed());
                    return Ok(channel);
                }
                Err(russh::Error::ChannelOpenFailure(why)) => why,
                Err(_) => return Err(self.lost()),
            };
            // Nothing has started, so asking again does no harm.
            self.parked.give_way().await;
            if Instant::now() + pause > patient_until {
                return Err(Error::ChannelRefused {
                    act: "open a channel",
                    why: format!("{why:?}"),
                });
            }
            sleep(pause).await;
            pause *= 2;
        }
    }

    pub(super) fn handle(&self) -> &Handle<Guard> {
        &self.line.handle
    }

    pub(super) fn doors(&self) -> &Arc<Doors> {
        &self.doors
    }

    pub(super) fn lost(&self) -> Error {
        self.line.lost()
    }
}
