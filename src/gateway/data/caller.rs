//! One connection of a caller: plain or TLS, HTTP/1.1 or HTTP/2, until it or the gateway ends.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::StatusCode;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

use super::guarded::Guarded;
use super::inlet::{Ear, Inlet};
use super::streams::{self, Streams};
use super::{BUFFER, forward};
use crate::gateway::directory::Reader;
use crate::gateway::gate::{Caller, Gate};
use crate::gateway::settings::{HEAD_BYTES, HEAD_WITHIN};

/// How the first bytes of HTTP/2 begin. No method of HTTP/1.1 does.
const PREFACE: &[u8; 3] = b"PRI";
/// How long to wait for the rest of that, if it came in pieces.
const PIECE: Duration = Duration::from_millis(5);
/// How many requests one HTTP/2 connection may have open.
const STREAMS: u32 = 128;
/// How much of one answer is kept for a caller that does not take it. As many as there are streams may lie there.
const SENDING: usize = 64 << 10;
/// How often a silent HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);

/// What all connections of one thread share.
pub struct Door {
    gate: Arc<Gate>,
    tls: Option<TlsAcceptor>,
    refusing: watch::Receiver<bool>,
}

impl Door {
    /// Returns the door of `gate`; `refusing` says when no further request may follow on any connection.
    pub fn new(gate: Arc<Gate>, refusing: watch::Receiver<bool>) -> Self {
        let tls = gate.settings.tls.as_ref();
        Self {
            tls: tls.map(|tls| TlsAcceptor::from(tls.config())),
            gate,
            refusing,
        }
    }
}

/// What the requests of one connection have in common.
pub struct Session {
    /// The gate.
    pub gate: Arc<Gate>,
    /// Who makes them.
    pub caller: Caller,
    /// Whether it is HTTP/2.
    pub two: bool,
    /// Set when an answer went out before its request was read to the end: the caller may still be sending.
    pub lingers: Arc<AtomicBool>,
    ear: Arc<Ear>,
    asked: Notify,
    /// There once something was asked for, until the connection ends.
    open: OnceLock<Open>,
}

/// A connection that somebody waits at. It counts as open until all that was answered is on its way: the end of a
/// request is not that of its answer, whose last bytes may still lie here.
#[derive(Debug)]
struct Open(Arc<Gate>);

impl Open {
    fn begin(gate: &Arc<Gate>) -> Self {
        gate.drain.begun();
        Self(Arc::clone(gate))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.drain.ended();
    }
}

thread_local! {
    static READER: RefCell<Option<Reader>> = const { RefCell::new(None) };
}

impl Session {
    /// Takes note of a request whose head was none. The connection is not closed yet.
    fn ends_badly(&self, error: &hyper::Error) {
        let status = if error.is_parse() {
            // It was told what is wrong with its request, and may still be sending it.
            self.lingers.store(true, Ordering::Relaxed);
            match error.is_parse_too_large() {
                true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                false => StatusCode::BAD_REQUEST,
            }
        } else if error.is_timeout() && !self.two && self.ear.has_heard() {
            self.ear.is_too_late();
            StatusCode::REQUEST_TIMEOUT
        } else {
            return;
        };
        self.gate.not_understood(self.caller, status);
    }

    /// Gives the view of the services that this thread has.
    pub fn with_reader<R>(&self, read: impl FnOnce(&mut Reader) -> R) -> R {
        READER.with_borrow_mut(|reader| {
            read(reader.get_or_insert_with(|| Reader::of(&self.gate.directory)))
        })
    }
}

/// A place among the connections that may be open; given back when it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Gate>);

impl Place {
    /// Returns a place, if there is one left.
    pub fn take(gate: &Arc<Gate>) -> Option<Self> {
        let open = &gate.metrics.connections;
        let place = Self(Arc::clone(gate));
        (open.fetch_add(1, Ordering::Relaxed) < gate.settings.connections).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one connection.
pub async fn serve(door: Arc<Door>, stream: TcpStream, peer: IpAddr, place: Place) {
    let lingers = Arc::new(AtomicBool::new(false));
    let ear = Arc::<Ear>::default();
    let session = |tls, two| {
        Arc::new(Session {
            gate: Arc::clone(&door.gate),
            caller: Caller { peer, tls },
            two,
            lingers: Arc::clone(&lingers),
            ear: Arc::clone(&ear),
            asked: Notify::new(),
            open: OnceLock::new(),
        })
    };
    let idle = door.gate.settings.idle;
    let stream = Guarded::of_caller(stream, idle, Arc::clone(&lingers), place);
    match &door.tls {
        None => {
            let Ok(Ok(two)) = tokio::time::timeout(HEAD_WITHIN, speaks_two(&stream)).await else {
                return;
            };
            serve_http(&door, session(false, two), stream).await;
        }
        Some(acceptor) => {
            let accepting = acceptor.accept(stream);
            match tokio::time::timeout(HEAD_WITHIN, accepting).await {
                Ok(Ok(stream)) => {
                    let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    serve_http(&door, session(true, two), stream).await;
                }
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
            }
        }
    }
}

/// Tells whether the caller begins with HTTP/2, without taking anything from the stream.
async fn speaks_two(stream: &Guarded) -> std::io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await?;
        let seen = first.get(..count).unwrap_or_default();
        if count == PREFACE.len() || count == 0 || !PREFACE.starts_with(seen) {
            return Ok(seen == PREFACE);
        }
        tokio::time::sleep(PIECE).await;
    }
}

async fn serve_http<I>(door: &Door, session: Arc<Session>, io: I)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::clone(&session);
    let service = service_fn(move |request| {
        let session = Arc::clone(&session);
        session.open.get_or_init(|| Open::begin(&session.gate));
        session.asked.notify_one();
        async move {
            let answer = forward::answer(&session, request).await;
            if session.two {
                streams::moved();
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let refusing = door.refusing.clone();
    let served = if asked.two {
        let idle = door.gate.settings.idle;
        let mut builder = http2::Builder::new(Streams { idle });
        let connection = builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
            .max_send_buf_size(SENDING)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .serve_connection(TokioIo::new(io), service);
        let serving = until_refusing(connection, refusing, &asked, |connection| {
            connection.graceful_shutdown();
        });
        tokio::select! {
            served = serving => served,
            () = nothing_asked(&asked) => Ok(()),
        }
    } else {
        let io = TokioIo::new(Inlet::of(io, Arc::clone(&asked.ear)));
        let mut builder = http1::Builder::new();
        let connection = builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_header_size(HEAD_BYTES)
            .max_buf_size(BUFFER)
            .serve_connection(io, service)
            .with_upgrades();
        until_refusing(connection, refusing, &asked, |connection| {
            connection.graceful_shutdown();
        })
        .await
    };
    if let Err(error) = served {
        // The caller's doing: it left, or what it sent is no HTTP, which hyper has answered.
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// Waits until the caller has had its time to ask for something and has not; for ever if it has. With HTTP/1.1 hyper
/// looks after that itself.
async fn nothing_asked(session: &Session) {
    tokio::time::sleep(HEAD_WITHIN).await;
    if session.open.get().is_some() {
        std::future::pending::<()>().await;
    }
}

/// Serves until the end; once nothing new is taken, the answers that are under way are the last ones.
async fn until_refusing<C>(
    connection: C,
    mut refusing: watch::Receiver<bool>,
    session: &Session,
    stop: impl FnOnce(Pin<&mut C>),
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    // Who has just connected hears an answer, and that it is the last one.
    let told = async {
        let _ = refusing.wait_for(|now| *now).await;
        session.asked.notified().await;
    };
    let served = tokio::select! {
        biased;
        served = connection.as_mut() => Some(served),
        () = told => None,
    };
    let served = match served {
        Some(served) => served,
        None => {
            stop(connection.as_mut());
            connection.as_mut().await
        }
    };
    if let Err(error) = &served {
        session.ends_badly(error);
    }
    served
}

#[cfg(test)]
mod tests;
