//! A new connection to a backend: plain, or TLS with what this machine trusts. HTTP/2 is spoken where the endpoint says
//! so or where TLS agrees on it, HTTP/1.1 everywhere else.

use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::BUFFER;
use super::channel::Channel;
use super::guarded::Guarded;
use super::send::Outgoing;
use crate::gateway::endpoint::{Endpoint, Speech};
use crate::gateway::settings::CONNECT_WITHIN;
use crate::support::tls;

/// How requests are put on a connection that one of them has to itself.
pub type Sender = http1::SendRequest<Outgoing>;

/// A new connection.
pub enum Opened {
    /// Of HTTP/1.1: for one request at a time.
    One(Sender),
    /// Of HTTP/2: for many.
    Many(Channel),
}

/// What may be spoken where that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// HTTP/2 if the other end can, else HTTP/1.1.
    Best,
    /// HTTP/1.1, which alone can go over to another protocol.
    One,
}

/// Opens a connection. The other end may be silent on it for as long as `idle` while it should read.
///
/// # Errors
/// Why there is none.
pub async fn open(idle: Duration, endpoint: &Endpoint, wish: Wish) -> Result<Opened, &'static str> {
    match tokio::time::timeout(CONNECT_WITHIN, at_once(idle, endpoint, wish)).await {
        Ok(opened) => opened,
        Err(_) => Err("no connection to it in time"),
    }
}

async fn at_once(idle: Duration, endpoint: &Endpoint, wish: Wish) -> Result<Opened, &'static str> {
    let place = &endpoint.place;
    let connected = match place.address() {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect((&*place.host, place.port)).await,
    };
    let stream = connected.map_err(|_| "no connection to it")?;
    let _ = stream.set_nodelay(true);
    let stream = Guarded::of_backend(stream, idle);
    match place.speech {
        Speech::One => return one(stream).await,
        Speech::Two => return Channel::over(stream).await.map(Opened::Many),
        Speech::Agreed => {}
    }
    let config = match wish {
        Wish::Best => tls::http2_client(),
        Wish::One => tls::http1_client(),
    };
    let config = config.ok_or("this machine has no certificates to check it with")?;
    let name = ServerName::try_from(place.host.to_string())
        .map_err(|_| "its name cannot be in a certificate")?;
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| {
            tracing::debug!(endpoint = endpoint.identity.url, %error, "a TLS handshake failed");
            "its TLS handshake failed"
        })?;
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Channel::over(stream).await.map(Opened::Many),
        // Older servers know of no agreement.
        _ => one(stream).await,
    }
}

async fn one<I>(stream: I) -> Result<Opened, &'static str>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| "no connection to it")?;
    tokio::spawn(connection.with_upgrades());
    Ok(Opened::One(sender))
}
