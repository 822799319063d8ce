//! The callbacks of one connection: who the server must be, what became of the connection, and what the
//! server may open.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelId};
use tokio::sync::watch;

use crate::ssh::connect::KEEPALIVE_MISSES;
use crate::ssh::error::Error;
use crate::ssh::forward::{Arrival, Doors};
use crate::ssh::known_hosts::{self, KnownHosts};
use crate::ssh::pace::Path;
use crate::support::clock::{Clock, SystemClock};

/// What became of a connection.
#[derive(Debug, Default)]
pub(super) struct Fate {
    end: Mutex<Option<End>>,
}

/// How a connection died.
#[derive(Debug, Clone)]
enum End {
    /// In these words.
    Closed(String),
    /// Without a word: the server was not heard of for this long.
    Silent(Duration),
}

impl Fate {
    pub(super) fn error(&self) -> Error {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        match end.clone() {
            Some(End::Silent(silent_for)) => Error::Silent { silent_for },
            Some(End::Closed(why)) => Error::Lost { why },
            None => Error::Lost {
                why: "the server closed the connection".into(),
            },
        }
    }
}

/// The callbacks of one connection.
pub(super) struct Guard {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) pinned: Option<String>,
    pub(super) known_hosts: Arc<KnownHosts>,
    pub(super) keepalive: Duration,
    pub(super) fate: Arc<Fate>,
    pub(super) path: Arc<Path>,
    pub(super) doors: Arc<Doors>,
    /// Dropped with the connection's task, so that whoever waits for its end is told.
    pub(super) _alive: watch::Sender<()>,
}

impl Handler for Guard {
    type Error = Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Error> {
        if let Some(pinned) = &self.pinned {
            known_hosts::check_pinned(&self.host, pinned, shown)?;
            return Ok(true);
        }
        let now = u64::try_from(SystemClock.now().as_millis() / 1000).unwrap_or(0);
        self.known_hosts.check(&self.host, self.port, shown, now)?;
        Ok(true)
    }

    async fn channel_open_confirmation(
        &mut self,
        _: ChannelId,
        _: u32,
        window: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.path.learn(session.remote_sshid(), window);
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Error>) -> Result<(), Error> {
        let end = match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                End::Closed(format!("the server said `{}`", info.message))
            }
            DisconnectReason::Error(Error::Silent { .. }) => {
                let questions = u32::try_from(KEEPALIVE_MISSES + 1).unwrap_or(u32::MAX);
                End::Silent(self.keepalive * questions)
            }
            DisconnectReason::Error(Error::ClosedEarly { .. }) => {
                End::Closed("the server closed the connection".into())
            }
            DisconnectReason::Error(Error::Protocol { why, .. }) => End::Closed(why),
            DisconnectReason::Error(error) => End::Closed(error.chain()),
        };
        *self.fate.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        if self.doors.data(channel, data) {
            session.close(channel)?;
        }
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Error> {
        self.doors.end(channel);
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Error> {
        self.doors.closed(channel);
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        let arrival = Arrival::Socket(path);
        self.doors.arrived(arrival, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        port: u32,
        from: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        let arrival = Arrival::Port(port, from);
        self.doors.arrived(arrival, channel, reply).await;
        Ok(())
    }

    // The library accepts by default whatever a server opens. A reply that is dropped refuses.

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // After the reason is known, and also when the task was ended without one.
        self.doors.lost();
    }
}
