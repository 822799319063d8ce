//! The way to a server's first word: over TCP, or through a host that is connected to already.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use russh::ChannelStream;
use russh::client::Msg;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::ssh::config::{Settings, Target};
use crate::ssh::connect::Connection;
use crate::ssh::error::{Error, Phase};
use crate::ssh::limited::Limited;
use crate::ssh::socket::Socket;

/// What a server may say before we look at it, in bytes.
const START: usize = 64;

/// A stream on which an SSH server has spoken.
#[derive(Debug)]
pub struct Dialed {
    pub(super) wire: Wire,
    pub(super) round_trip: Duration,
    pub(super) limited: Limited,
    /// Kept open for as long as what goes through it.
    pub(super) through: Option<Arc<Connection>>,
}

/// Opens a TCP connection and waits until the server says something.
///
/// # Errors
/// [`Error::Resolve`], [`Error::Tcp`], [`Error::Timeout`], [`Error::ClosedEarly`], [`Error::NotSsh`].
pub async fn dial(target: &Target, settings: &Settings) -> Result<Dialed, Error> {
    dial_through(target, settings, None).await
}

/// Dials as [`dial`] does, from the jump host `through` if there is one: names are resolved there.
///
/// # Errors
/// Those of [`dial`], and [`Error::Lost`] when the jump host is gone.
pub async fn dial_through(
    target: &Target,
    settings: &Settings,
    through: Option<&Arc<Connection>>,
) -> Result<Dialed, Error> {
    let limited = Limited::start(settings.connect_timeout);
    let began = Instant::now();
    let (wire, round_trip) = match through {
        Some(jump) => {
            let stream = limited.run(Phase::Tcp, jump.reach(target)).await?;
            let round_trip = began.elapsed();
            let mut stream = BufReader::new(stream);
            let banner = look_at_channel(&mut stream);
            limited.run(Phase::Banner, banner).await?;
            (Wire::Through(Box::new(stream)), round_trip)
        }
        None => {
            let addresses = limited.run(Phase::Resolve, resolve(target)).await?;
            let (stream, round_trip) = limited.run(Phase::Tcp, open_tcp(&addresses)).await?;
            limited.run(Phase::Banner, look_at_tcp(&stream)).await?;
            (Wire::Tcp(Socket::open(stream)), round_trip)
        }
    };
    Ok(Dialed {
        wire,
        round_trip,
        limited,
        through: through.map(Arc::clone),
    })
}

async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(ip) = target.host.parse() {
        return Ok(vec![SocketAddr::new(ip, target.port)]);
    }
    let fail = |source| Error::Resolve {
        host: target.host.clone(),
        source,
    };
    let found = tokio::net::lookup_host((target.host.as_str(), target.port))
        .await
        .map_err(fail)?;
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() {
        return Err(fail(io::Error::new(io::ErrorKind::NotFound, "no address")));
    }
    Ok(addresses)
}

/// Returns the stream and how long its handshake took, which is one round trip.
async fn open_tcp(addresses: &[SocketAddr]) -> Result<(TcpStream, Duration), Error> {
    let mut last = None;
    for address in addresses {
        let began = Instant::now();
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok((stream, began.elapsed())),
            Err(source) => {
                last = Some(Error::Tcp {
                    address: address.to_string(),
                    source,
                })
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::Tcp {
        address: String::new(),
        source: io::Error::new(io::ErrorKind::NotFound, "no address"),
    }))
}

/// Servers speak first. What they say is only looked at here; the SSH layer reads it again.
async fn look_at_tcp(stream: &TcpStream) -> Result<(), Error> {
    let mut start = [0; START];
    let length = stream.peek(&mut start).await.map_err(unread)?;
    check_banner(start.get(..length).unwrap_or_default())
}

async fn look_at_channel(stream: &mut BufReader<ChannelStream<Msg>>) -> Result<(), Error> {
    let start = stream.fill_buf().await.map_err(unread)?;
    check_banner(start.get(..START).unwrap_or(start))
}

fn closed(said: &str) -> Error {
    Error::ClosedEarly {
        phase: Phase::Banner,
        said: said.to_owned(),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is mapped over")]
fn unread(error: io::Error) -> Error {
    closed(&error.to_string())
}

fn check_banner(start: &[u8]) -> Result<(), Error> {
    if start.is_empty() {
        return Err(closed(""));
    }
    let said = String::from_utf8_lossy(start);
    let said = said.trim_end();
    // What OpenSSH answers past MaxStartups and under PerSourcePenalties.
    if said.starts_with("Exceeded MaxStartups") || said.starts_with("Not allowed at this time") {
        return Err(closed(said));
    }
    // RFC 4253, 4.2 lets a server send other lines before its version, but text only.
    let texty = said
        .bytes()
        .all(|b| b == b'\r' || b == b'\n' || b == b'\t' || b >= b' ');
    if said.starts_with("HTTP/") || !texty {
        return Err(Error::NotSsh {
            said: said.escape_debug().take(60).collect(),
        });
    }
    Ok(())
}

/// What a connection runs over.
pub(super) enum Wire {
    Tcp(BufReader<Socket>),
    Through(Box<BufReader<ChannelStream<Msg>>>),
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            Self::Through(_) => "Through",
        })
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Through(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Through(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Through(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Through(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
