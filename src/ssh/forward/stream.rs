//! The stream of one incoming channel, and the task that sends for it.
//!
//! The SSH library's own stream is not used. Its reader holds up the whole connection when it is slow,
//! its writer waits for ever when the channel is closed while the window is shut, and it forgets a
//! channel for good only if the server closes it first.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use russh::ChannelWriteHalf;
use russh::client::Msg;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// What a writer may have given us that is not under way yet.
const MOST_UNSENT: usize = 64 << 10;
/// How long a stream that nobody holds any more may take to end in order.
const LINGER: Duration = Duration::from_secs(5);

/// A connection that somebody on the host made to a forwarded socket or port.
///
/// Bytes that come from the host are kept until they are read. Dropping it ends both directions.
#[derive(Debug)]
pub struct Stream(Arc<Wire>);

/// How a channel ended before both sides had said all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// The server closed it.
    ByServer,
    /// Its reader left too much unread.
    Overrun,
    /// The connection is gone.
    Lost,
}

/// What the stream, its sender and the connection's callbacks share.
#[derive(Debug, Default)]
pub(super) struct Wire {
    state: Mutex<State>,
    /// There is something to send.
    to_send: Notify,
    /// It is closed, or nobody holds it any more.
    ending: Notify,
}

#[derive(Debug, Default)]
struct State {
    received: VecDeque<Bytes>,
    unread: usize,
    /// The host sends no more.
    ended: bool,
    reader: Option<Waker>,
    unsent: BytesMut,
    /// We send no more.
    shut: bool,
    writer: Option<Waker>,
    closed: Option<Closed>,
    /// Nobody holds the stream any more.
    dropped: bool,
    /// The host went on sending after that.
    deaf: bool,
}

impl State {
    fn forget(&mut self) {
        self.received.clear();
        self.unread = 0;
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }
}

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what came from the host, unless more than `most` bytes were unread then.
    pub(super) fn receive(&self, bytes: &[u8], most: usize) -> bool {
        let mut state = self.state();
        if state.dropped {
            state.deaf = true;
            self.ending.notify_one();
            return true;
        }
        if state.unread + bytes.len() > most {
            return false;
        }
        state.unread += bytes.len();
        state.received.push_back(Bytes::copy_from_slice(bytes));
        if let Some(waker) = state.reader.take() {
            waker.wake();
        }
        true
    }

    /// Returns how much was not read yet, in bytes.
    pub(super) fn unread(&self) -> usize {
        self.state().unread
    }

    /// The host sends no more.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        if let Some(waker) = state.reader.take() {
            waker.wake();
        }
    }

    /// The channel is no more.
    pub(super) fn close(&self, how: Closed) {
        let mut state = self.state();
        if state.closed.is_none() {
            state.closed = Some(how);
        }
        if how == Closed::Overrun {
            state.forget();
        }
        state.wake();
        drop(state);
        self.ending.notify_one();
    }

    /// Sends what the stream has been given until the channel is closed.
    pub(super) async fn serve(&self, half: &ChannelWriteHalf<Msg>) {
        tokio::select! {
            () = self.send(half) => {}
            () = self.closing() => {}
        }
        let over = self.state().closed.is_some();
        if !over {
            let _ = half.close().await;
        }
        self.close(Closed::Lost);
    }

    /// Sends until nothing can be sent any more.
    async fn send(&self, half: &ChannelWriteHalf<Msg>) {
        loop {
            let (bytes, shut) = {
                let mut state = self.state();
                let bytes = state.unsent.split().freeze();
                if let Some(waker) = state.writer.take() {
                    waker.wake();
                }
                (bytes, state.shut || state.dropped)
            };
            let sent = if !bytes.is_empty() {
                half.data_bytes(bytes).await
            } else if shut {
                // The server closes the channel when it has ended its side, too.
                let _ = half.eof().await;
                return std::future::pending().await;
            } else {
                self.to_send.notified().await;
                Ok(())
            };
            if sent.is_err() {
                return;
            }
        }
    }

    /// Waits until the channel is closed or has to be.
    async fn closing(&self) {
        let mut until = None;
        loop {
            {
                let state = self.state();
                if state.closed.is_some() || state.deaf {
                    return;
                }
                if state.dropped && until.is_none() {
                    until = Some(Instant::now() + LINGER);
                }
            }
            let ending = self.ending.notified();
            match until {
                None => ending.await,
                // A server that closes first is asked to, because the SSH library keeps a little of
                // each channel that we close first for as long as the connection lives.
                Some(until) if timeout_at(until, ending).await.is_err() => return,
                Some(_) => {}
            }
        }
    }
}

impl Stream {
    pub(super) fn new(wire: Arc<Wire>) -> Self {
        Self(wire)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.dropped = true;
        state.deaf = !state.received.is_empty();
        state.forget();
        drop(state);
        self.0.to_send.notify_one();
        self.0.ending.notify_one();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if state.received.is_empty() {
            if state.ended {
                return Poll::Ready(Ok(()));
            }
            return match state.closed {
                Some(how) => Poll::Ready(Err(how.into())),
                None => {
                    state.reader = Some(context.waker().clone());
                    Poll::Pending
                }
            };
        }
        let mut taken = 0;
        while let Some(first) = state.received.front_mut() {
            let length = first.len().min(buffer.remaining());
            buffer.put_slice(&first.split_to(length));
            taken += length;
            if !first.has_remaining() {
                state.received.pop_front();
            }
            if buffer.remaining() == 0 {
                break;
            }
        }
        state.unread -= taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.state();
        if let Some(how) = state.closed {
            return Poll::Ready(Err(how.into()));
        }
        if state.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = MOST_UNSENT
            .saturating_sub(state.unsent.len())
            .min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        state
            .unsent
            .extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.0.to_send.notify_one();
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // It is on its way: nothing is kept back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.state().shut = true;
        self.0.to_send.notify_one();
        Poll::Ready(Ok(()))
    }
}

impl From<Closed> for io::Error {
    fn from(how: Closed) -> Self {
        match how {
            Closed::ByServer => {
                Self::new(io::ErrorKind::ConnectionReset, "the host closed the stream")
            }
            Closed::Overrun => Self::new(
                io::ErrorKind::ConnectionAborted,
                "more came from the host than was read here",
            ),
            Closed::Lost => Self::new(
                io::ErrorKind::ConnectionAborted,
                "the SSH connection under the stream is gone",
            ),
        }
    }
}
