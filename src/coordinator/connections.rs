//! Connections: accepting them, limits on what a client may send and how slowly, and ending them.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;

use super::api::error::Refused;
use super::caller::Caller;
use super::cluster::PeerMark;
use super::doors::{Doors, Visitor};
use super::front::{Front, Known};
use super::office::Office;
use super::patient::Patient;
use super::{cluster, streams};
use crate::protocol::api::Code;
use crate::support::shutdown::{Shutdown, Urgency};

/// How long a client may take for the head of a request, also for its first byte.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long the head of a request may be, in bytes. It may have 100 lines, which is hyper's own limit.
const HEAD_BYTES: usize = 64 << 10;
/// How much a connection keeps in memory for reading, and for writing.
const BUFFER: usize = 64 << 10;
/// How long open requests may take once the coordinator is to stop.
const FINISH_WITHIN: Duration = Duration::from_secs(10);
/// After the system refused a connection, which it does when files run out.
const BREATH: Duration = Duration::from_millis(50);

/// Serves connections until `shutdown`. Returns those that are open then; they end after the
/// request that they are in.
pub async fn accept(front: &Arc<Front>, mut doors: Doors, mut shutdown: Shutdown) -> JoinSet<()> {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.reached(Urgency::Stop) => return open,
            visitor = doors.next() => match visitor {
                Ok(visitor) => {
                    open.spawn(serve(Arc::clone(front), visitor));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            },
            // Finished ones must not pile up.
            Some(_) = open.join_next() => {}
        }
    }
}

/// Waits for connections to end, for a while.
pub async fn finish(mut open: JoinSet<()>) {
    let all = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(FINISH_WITHIN, all).await.is_err() {
        tracing::info!("some requests were cut off");
    }
}

async fn serve(front: Arc<Front>, visitor: Visitor) {
    let Visitor { stream, caller } = visitor;
    // Dropped after the connection, whose requests say what was cut off.
    let _open = front
        .office()
        .and_then(|office| streams::open(&office.room, &caller));
    let mut closing = front.closing();
    let line = Arc::new(Line {
        front,
        caller: Arc::new(caller),
        mark: PeerMark::default(),
    });
    let (speaks, known) = (Arc::clone(&line), Known::default());
    let service = service_fn(move |request: Request<Incoming>| {
        let office = speaks.front.office_of(&known);
        let line = Arc::clone(&speaks);
        async move { Ok::<_, Infallible>(line.answer(office, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(BUFFER)
        .max_header_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(Patient::new(stream)), service);
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = closed(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(caller = %line.caller, %error, "a connection ended badly");
    }
}

/// What the requests of one connection have in common.
struct Line {
    front: Arc<Front>,
    caller: Arc<Caller>,
    /// Which member of the cluster has proved itself here.
    mark: PeerMark,
}

impl Line {
    /// Answers a request; `office` is that of this coordinator, if it has one.
    async fn answer(&self, office: Option<Arc<Office>>, request: Request<Incoming>) -> Response {
        let caller = Arc::clone(&self.caller);
        match (self.front.membership(), office) {
            (None, Some(office)) => office.answer(caller, request).await,
            (Some(membership), office) => {
                let whose = (caller, &self.mark);
                cluster::front::answer(&self.front, membership, office, whose, request).await
            }
            (None, None) => Refused::new(Code::Unavailable, "stopping").into_response(),
        }
    }
}

/// Waits until the coordinator closes.
async fn closed(closing: &mut tokio::sync::watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}
