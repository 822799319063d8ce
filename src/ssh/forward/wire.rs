//! What an incoming channel's stream, its callbacks and the task that sends for it share.
//!
//! The SSH library's own stream is not used. Its reader holds up the whole connection when it is slow,
//! its writer waits for ever when the channel is closed while the window is shut, and it forgets a
//! channel for good only if the server closes it first.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use russh::ChannelWriteHalf;
use russh::client::Msg;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How long a stream that nobody holds any more may take to end in order.
const LINGER: Duration = Duration::from_secs(5);

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
    pub(super) to_send: Notify,
    /// It is closed, or nobody holds it any more.
    pub(super) ending: Notify,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) received: VecDeque<Bytes>,
    pub(super) unread: usize,
    /// The host sends no more.
    pub(super) ended: bool,
    pub(super) reader: Option<Waker>,
    pub(super) unsent: BytesMut,
    /// We send no more.
    pub(super) shut: bool,
    pub(super) writer: Option<Waker>,
    pub(super) closed: Option<Closed>,
    /// Nobody holds the stream any more.
    pub(super) dropped: bool,
    /// The host went on sending after that.
    pub(super) deaf: bool,
}

impl State {
    pub(super) fn forget(&mut self) {
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
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
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
