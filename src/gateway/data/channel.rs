//! A connection to a backend that many requests share: HTTP/2. Its streams are counted here, because who waits in it
//! for a free one could be served over another connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::BUFFER;
use super::send::Outgoing;
use crate::gateway::settings::HEAD_BYTES;

/// How many requests share a connection at most. Where one packet is lost all of them wait.
const MOST: u32 = 100;
/// How much of one answer may come before its caller takes it, and of all together: nobody who reads slowly may keep
/// back what comes for others.
const STREAM_WINDOW: u32 = BUFFER as u32;
const WINDOW: u32 = STREAM_WINDOW * MOST;
/// How many streams there may be before the other end has said so, which it does first of all; and how often it is
/// looked whether it has.
const UNKNOWN: usize = 0;
const LOOK: Duration = Duration::from_millis(1);
/// How often the other end is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);

/// One connection. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Channel {
    sender: SendRequest<Outgoing>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// How many requests are on it.
    open: AtomicU32,
    /// How many may be, as far as the other end has said.
    most: AtomicU32,
    /// It takes no more.
    over: AtomicBool,
}

impl Channel {
    /// Speaks HTTP/2 over this stream.
    ///
    /// # Errors
    /// When the stream breaks at once.
    pub async fn over<I>(stream: I) -> Result<Self, &'static str>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, mut connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(WINDOW)
            .initial_max_send_streams(UNKNOWN)
            .max_send_buf_size(BUFFER)
            .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| "no connection to it")?;
        // What is sent before it is known how much may be would in part be refused.
        let mut tick = tokio::time::interval(LOOK);
        while connection.current_max_send_streams() == UNKNOWN {
            let polled = poll_fn(|context| Poll::Ready(Pin::new(&mut connection).poll(context)));
            if polled.await.is_ready() {
                return Err("it speaks no HTTP/2");
            }
            tick.tick().await;
        }
        let state = Arc::new(State {
            open: AtomicU32::new(0),
            most: AtomicU32::new(MOST),
            over: AtomicBool::new(false),
        });
        let told = Arc::clone(&state);
        tokio::spawn(async move {
            let ended = poll_fn(|context| {
                let polled = Pin::new(&mut connection).poll(context);
                // Every request passes through here, so what the other end allows is known when it counts.
                let allowed = u32::try_from(connection.current_max_send_streams());
                let most = allowed.unwrap_or(MOST).clamp(1, MOST);
                told.most.store(most, Ordering::Relaxed);
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "a connection to a backend ended badly");
            }
            told.over.store(true, Ordering::Relaxed);
        });
        Ok(Self { sender, state })
    }

    /// Returns a place for one request, if there is one left.
    pub fn enter(&self) -> Option<Ticket> {
        if self.is_over() {
            return None;
        }
        // Counted before it is compared; given back when it is dropped.
        let before = self.state.open.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket {
            channel: self.clone(),
        };
        (before < self.state.most.load(Ordering::Relaxed)).then_some(ticket)
    }

    /// Tells whether no request can be put on it any more.
    pub fn is_over(&self) -> bool {
        self.state.over.load(Ordering::Relaxed) || self.sender.is_closed()
    }

    /// Tells whether no request is on it.
    pub fn is_idle(&self) -> bool {
        self.state.open.load(Ordering::Relaxed) == 0
    }
}

/// A request's place on a connection, until it is dropped.
#[derive(Debug)]
pub struct Ticket {
    channel: Channel,
}

impl Ticket {
    /// Returns how the request is put on the connection.
    pub const fn sender(&mut self) -> &mut SendRequest<Outgoing> {
        &mut self.channel.sender
    }

    /// Takes note that the other end takes nothing new: what is under way may still end well.
    pub fn gives_up(&self) {
        self.channel.state.over.store(true, Ordering::Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.channel.state.open.fetch_sub(1, Ordering::Relaxed);
    }
}
