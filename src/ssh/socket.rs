//! The TCP stream of a connection, which acknowledges small packets at once.
//!
//! sshd leaves Nagle's algorithm on for commands without a terminal: its second small packet waits
//! until we have acknowledged the first, and an idle kernel takes 40 ms for that. Every handshake and
//! every command would pay it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;

/// Reads of at least this size are bulk data, whose acknowledgements need no help.
const BULK: usize = 4096;

/// What one read takes at most of small packets.
const READ_AHEAD: usize = 8 << 10;

/// A TCP stream that does not delay acknowledgements of small packets.
#[derive(Debug)]
pub(super) struct Socket(TcpStream);

impl Socket {
    /// Takes over a connected stream. It is read through a buffer, because the SSH layer asks for
    /// the length of each packet before the packet.
    pub(super) fn open(stream: TcpStream) -> BufReader<Self> {
        // Ours wait for nobody either. Without these two it is only slower.
        let _ = stream.set_nodelay(true);
        let socket = Self(stream);
        socket.acknowledge();
        BufReader::with_capacity(READ_AHEAD, socket)
    }

    /// Asks the kernel to acknowledge at once. It forgets that by and by, so it is asked again.
    #[cfg(target_os = "linux")]
    fn acknowledge(&self) {
        let _ = rustix::net::sockopt::set_tcp_quickack(&self.0, true);
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::unused_self, reason = "other systems have no such option")]
    fn acknowledge(&self) {}
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.0).poll_read(context, buffer);
        if polled.is_ready() && buffer.filled().len() - before < BULK {
            self.acknowledge();
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
