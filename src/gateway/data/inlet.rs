//! What lies between a caller's stream, TLS or not, and hyper's reading of HTTP/1.1 from it: each head is looked at on
//! its way in, and a caller that is too slow is told so on its way out.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::heads::Heads;

/// What is said to whoever began a request and did not come to the end of its head.
const TOO_LATE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What is known of a caller's stream beside what is read and written.
#[derive(Debug, Default)]
pub struct Ear {
    /// Something came that was not answered yet.
    heard: AtomicBool,
    late: AtomicBool,
}

impl Ear {
    /// Tells whether something came that was not answered yet.
    pub fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Has the stream end with the word that a request took too long.
    pub fn is_too_late(&self) {
        self.late.store(true, Ordering::Relaxed);
    }
}

/// A caller's stream of HTTP/1.1.
#[derive(Debug)]
pub struct Inlet<I: AsyncRead + AsyncWrite + Unpin> {
    stream: I,
    ear: Arc<Ear>,
    heads: Heads,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Inlet<I> {
    /// Returns the inlet of this stream, of which nothing was read.
    pub fn of(stream: I, ear: Arc<Ear>) -> Self {
        Self {
            stream,
            ear,
            heads: Heads::default(),
        }
    }

    fn answers(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.ear.heard.store(false, Ordering::Relaxed);
        }
        written
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Inlet<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(fresh @ [_, ..]) = buffer.filled_mut().get_mut(before..) {
            self.ear.heard.store(true, Ordering::Relaxed);
            self.heads.look(fresh);
        }
        read
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Inlet<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.answers(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.answers(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Drop for Inlet<I> {
    fn drop(&mut self) {
        if self.ear.late.load(Ordering::Relaxed) {
            // There is room for it, or nobody takes it anyway.
            let mut context = Context::from_waker(Waker::noop());
            let mut stream = Pin::new(&mut self.stream);
            let _ = stream.as_mut().poll_write(&mut context, TOO_LATE);
            let _ = stream.as_mut().poll_flush(&mut context);
            let _ = stream.as_mut().poll_shutdown(&mut context);
        }
    }
}
