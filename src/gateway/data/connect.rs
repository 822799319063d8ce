//! A new connection to a backend: plain, or TLS with what this machine trusts. HTTP/1.1 is spoken over both.

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::BUFFER;
use super::guarded::Guarded;
use super::send::Outgoing;
use crate::gateway::endpoint::Endpoint;
use crate::gateway::settings::{CONNECT_WITHIN, Settings};

/// How requests are put on a connection.
pub type Sender = SendRequest<Outgoing>;

/// Opens a connection.
///
/// # Errors
/// Why there is none.
pub async fn open(settings: &Settings, endpoint: &Endpoint) -> Result<Sender, &'static str> {
    match tokio::time::timeout(CONNECT_WITHIN, at_once(settings, endpoint)).await {
        Ok(opened) => opened,
        Err(_) => Err("no connection to it in time"),
    }
}

async fn at_once(settings: &Settings, endpoint: &Endpoint) -> Result<Sender, &'static str> {
    let place = &endpoint.place;
    let connected = match place.address() {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect((&*place.host, place.port)).await,
    };
    let stream = connected.map_err(|_| "no connection to it")?;
    let _ = stream.set_nodelay(true);
    let stream = Guarded::of_backend(stream, settings.idle);
    if !place.tls {
        return speak(stream).await;
    }
    let config = crate::support::tls::http1_client()
        .ok_or("this machine has no certificates to check it with")?;
    let name = ServerName::try_from(place.host.to_string())
        .map_err(|_| "its name cannot be in a certificate")?;
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| {
            tracing::debug!(endpoint = endpoint.identity.url, %error, "a TLS handshake failed");
            "its TLS handshake failed"
        })?;
    speak(stream).await
}

async fn speak<I>(stream: I) -> Result<Sender, &'static str>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| "no connection to it")?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}
