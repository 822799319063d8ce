//! Holds a connection back while commands do not take what the client sends them.
//!
//! russh opens the client's window as data arrives, not as a command takes it, and its one loop must
//! never wait for a command: that loop also sends the command's output. So input is queued, and when
//! too much of it waits, nothing more is read from the socket; TCP then slows the client down. Only
//! while output waits for the client to open *its* window we read on, since the packet that opens it
//! stands behind the input.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Input that may wait for commands, in bytes.
const MOST_WAITING: usize = 16 << 20;
/// A client that sends this much without reading what it gets is cut off, in bytes.
const MOST_EVER: usize = 256 << 20;

/// The gate of one connection.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: usize,
    starving: usize,
    cut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Input on its way to a command. It counts until it is dropped.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    gate: Arc<Gate>,
}

/// Says that output waits for the client, until it is dropped.
#[derive(Debug)]
pub(super) struct Starving(Arc<Gate>);

impl Gate {
    /// Counts `bytes` as waiting.
    pub(super) fn piece(self: &Arc<Self>, bytes: &[u8]) -> Piece {
        let mut state = self.state();
        state.waiting += bytes.len();
        if state.waiting > MOST_EVER {
            state.cut();
        }
        Piece {
            bytes: Bytes::copy_from_slice(bytes),
            gate: Arc::clone(self),
        }
    }

    /// Lets the connection read on for as long as the result lives.
    pub(super) fn starving(self: &Arc<Self>) -> Starving {
        let mut state = self.state();
        state.starving += 1;
        state.wake_reader();
        Starving(Arc::clone(self))
    }

    /// Fails all reads and writes from now on.
    pub(super) fn cut(&self) {
        self.state().cut();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn cut(&mut self) {
        self.cut = true;
        self.wake_reader();
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    fn is_shut(&self) -> bool {
        self.waiting >= MOST_WAITING && self.starving == 0
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        let was_shut = state.is_shut();
        state.waiting = state.waiting.saturating_sub(self.bytes.len());
        if was_shut && !state.is_shut() {
            state.wake_reader();
        }
    }
}

impl Drop for Starving {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.starving = state.starving.saturating_sub(1);
    }
}

/// A connection behind its gate.
#[derive(Debug)]
pub(super) struct GatedStream {
    stream: TcpStream,
    gate: Arc<Gate>,
}

impl GatedStream {
    pub(super) fn new(stream: TcpStream, gate: Arc<Gate>) -> Self {
        Self { stream, gate }
    }

    /// Fails if the gate is cut; otherwise leaves a waker for when it is.
    fn check_writer(&self, cx: &Context<'_>) -> io::Result<()> {
        let mut state = self.gate.state();
        if state.cut {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        state.writer = Some(cx.waker().clone());
        Ok(())
    }
}

impl AsyncRead for GatedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        {
            let mut state = self.gate.state();
            if state.cut {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            state.reader = Some(cx.waker().clone());
            if state.is_shut() {
                return Poll::Pending;
            }
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for GatedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Err(error) = self.check_writer(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shut_while_too_much_waits_unless_output_starves() {
        let gate = Arc::new(Gate::default());
        let half = vec![0; MOST_WAITING / 2];
        let first = gate.piece(&half);
        assert!(!gate.state().is_shut());
        let second = gate.piece(&half);
        assert!(gate.state().is_shut());
        let starving = gate.starving();
        assert!(!gate.state().is_shut());
        drop(starving);
        assert!(gate.state().is_shut());
        drop(first);
        assert!(!gate.state().is_shut());
        drop(second);
        assert_eq!(gate.state().waiting, 0);
    }
}
