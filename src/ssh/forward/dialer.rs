//! Streams the other way: from here to a port of the host's own, through the connection.
//!
//! They end up as the same [`Stream`]s: whoever reads one slowly holds up nobody else on the connection, and what it
//! leaves unread is kept up to a limit.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use russh::client::{Handle, Msg};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};

use super::LOOPBACK;
use super::stream::Stream;
use super::wire::{Closed, Wire};
use crate::ssh::connect::Connection;
use crate::ssh::error::Error;
use crate::ssh::guard::{Fate, Guard};
use crate::ssh::jump;

/// What one stream may have unread, in bytes.
const MOST_UNREAD: usize = 16 << 20;
/// What all of one dialer may have unread,
const TOGETHER: usize = 64 << 20;
/// without those that have less.
const LITTLE: usize = 1 << 20;

/// Opens streams to ports of the host's loopback address for as long as its connection lives, which it does not
/// prolong.
#[derive(Clone)]
pub struct Dialer {
    handle: Weak<Handle<Guard>>,
    fate: Arc<Fate>,
    wires: Arc<Mutex<Vec<Weak<Wire>>>>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

impl Connection {
    /// Returns what opens streams to the host's own ports.
    pub fn dialer(&self) -> Dialer {
        let (handle, fate) = self.line().ends();
        Dialer {
            handle,
            fate,
            wires: Arc::default(),
        }
    }
}

impl Dialer {
    /// Opens a stream to a port of the host's loopback address.
    ///
    /// # Errors
    /// [`Error::Tcp`] when nothing listens there or the server does not forward, of the kind
    /// [`io::ErrorKind::PermissionDenied`] in the latter case; [`Error::Lost`] when the connection died.
    pub async fn dial(&self, port: u16) -> Result<Stream, Error> {
        let handle = self.handle.upgrade().ok_or_else(|| self.fate.error())?;
        let opened = handle
            .channel_open_direct_tcpip(LOOPBACK, port.into(), LOOPBACK, 0)
            .await;
        let channel = match opened {
            Ok(channel) => channel,
            Err(russh::Error::ChannelOpenFailure(why)) => {
                let source = match jump::refused(why) {
                    source if source.kind() == io::ErrorKind::PermissionDenied => source,
                    source => io::Error::new(io::ErrorKind::ConnectionRefused, source),
                };
                return Err(Error::Tcp {
                    address: format!("{LOOPBACK}:{port} of the host"),
                    source,
                });
            }
            Err(_) => return Err(self.fate.error()),
        };
        let (read, write) = channel.split();
        let wire = Arc::new(Wire::default());
        let carrying = Carrying {
            wire: Arc::clone(&wire),
            wires: self.register(&wire),
        };
        tokio::spawn(carrying.run(read, write));
        Ok(Stream::new(wire))
    }

    fn register(&self, wire: &Arc<Wire>) -> Arc<Mutex<Vec<Weak<Wire>>>> {
        let mut wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        wires.retain(|one| one.strong_count() > 0);
        wires.push(Arc::downgrade(wire));
        drop(wires);
        Arc::clone(&self.wires)
    }
}

/// Moves the bytes of one stream between its channel and its wire.
struct Carrying {
    wire: Arc<Wire>,
    /// All of its dialer.
    wires: Arc<Mutex<Vec<Weak<Wire>>>>,
}

impl Carrying {
    async fn run(self, read: ChannelReadHalf, write: ChannelWriteHalf<Msg>) {
        let how = tokio::select! {
            () = self.wire.serve(&write) => return,
            how = self.hear(read) => how,
        };
        self.wire.close(how);
        if how == Closed::Overrun {
            let _ = write.close().await;
        }
    }

    /// Takes what comes at once, because the library has one queue for all channels of the connection.
    async fn hear(&self, mut read: ChannelReadHalf) -> Closed {
        while let Some(message) = read.wait().await {
            let data = match message {
                ChannelMsg::Data { data } => data,
                ChannelMsg::Close => return Closed::ByServer,
                ChannelMsg::Eof => {
                    self.wire.end();
                    continue;
                }
                _ => continue,
            };
            if !self.fits(data.len()) || !self.wire.receive(&data, MOST_UNREAD) {
                return Closed::Overrun;
            }
        }
        Closed::Lost
    }

    /// Tells whether there is room for so many bytes more.
    fn fits(&self, more: usize) -> bool {
        if self.wire.unread() + more <= LITTLE {
            return true;
        }
        let wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        let all = wires.iter().filter_map(Weak::upgrade);
        all.map(|wire| wire.unread()).sum::<usize>() + more <= TOGETHER
    }
}
