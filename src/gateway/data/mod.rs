//! The data path: connections of callers, requests to backends, bytes in between.
//!
//! It knows nothing of services and health; it asks the gate and tells it what it sees.

mod forward;

use std::convert::Infallible;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::directory::Reader;
use super::drain::Phase;
use super::gate::{Caller, Gate};
use super::settings::{HEAD_BYTES, HEAD_WITHIN};

/// After the system refused a connection, which it does when files run out.
const BREATH: Duration = Duration::from_millis(50);

/// Serves the listeners until the gate's end is over.
///
/// # Errors
/// When a listener cannot be used.
pub async fn serve(gate: Arc<Gate>, listeners: Vec<TcpListener>) -> std::io::Result<()> {
    let mut all = JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        all.spawn(accept(Arc::clone(&gate), listener));
    }
    while all.join_next().await.is_some() {}
    Ok(())
}

async fn accept(gate: Arc<Gate>, listener: tokio::net::TcpListener) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = gate.drain.reached(Phase::Over) => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let caller = Caller { peer: peer.ip(), tls: false };
                    open.spawn(connection(Arc::clone(&gate), stream, caller));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            },
            Some(_) = open.join_next() => {}
        }
    }
}

async fn connection(gate: Arc<Gate>, stream: TcpStream, caller: Caller) {
    let _ = stream.set_nodelay(true);
    gate.metrics.connections.fetch_add(1, Ordering::Relaxed);
    let asked = Notify::new();
    let service = service_fn(|request: Request<Incoming>| {
        asked.notify_one();
        let mut reader = Reader::of(&gate.directory);
        let gate = Arc::clone(&gate);
        async move { Ok::<_, Infallible>(forward::answer(&gate, &mut reader, caller, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_header_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        // Who has just connected hears an answer, and that it is the last one.
        ((), ()) = async { tokio::join!(gate.drain.reached(Phase::Refusing), asked.notified()) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended badly");
    }
    gate.metrics.connections.fetch_sub(1, Ordering::Relaxed);
}
