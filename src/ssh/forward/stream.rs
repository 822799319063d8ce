//! The stream of one incoming channel, as those see it who serve it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Wire;

/// What a writer may have given us that is not under way yet.
const MOST_UNSENT: usize = 64 << 10;

/// A connection that somebody on the host made to a forwarded socket or port.
///
/// Bytes that come from the host are kept until they are read. Dropping it ends both directions.
#[derive(Debug)]
pub struct Stream(Arc<Wire>);

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
