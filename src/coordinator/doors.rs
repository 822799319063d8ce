//! The ways in: TCP, the owner's Unix socket, and streams that others accepted, such as tunnels.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::caller::Caller;
use super::socket::OwnersSocket;

/// What a request can come over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection and who is at its other end.
pub struct Visitor {
    /// The connection.
    pub stream: Box<dyn Stream>,
    /// Who is at its other end. Whoever hands over the visitor answers for that.
    pub caller: Caller,
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visitor")
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

/// All ways in. They are open at the same time, and each may be missing.
#[derive(Debug, Default)]
pub struct Doors {
    /// For [`Caller::Network`].
    pub tcp: Vec<TcpListener>,
    /// For [`Caller::Owner`].
    pub unix: Option<OwnersSocket>,
    /// For connections that were accepted elsewhere. When the senders are gone, so is this door.
    pub streams: Option<mpsc::Receiver<Visitor>>,
}

impl From<TcpListener> for Doors {
    fn from(listener: TcpListener) -> Self {
        Self {
            tcp: vec![listener],
            ..Self::default()
        }
    }
}

impl Doors {
    /// Waits for the next connection. Waits for ever if there is no door.
    ///
    /// # Errors
    /// When the system refuses one, which it does when files run out.
    pub async fn next(&mut self) -> io::Result<Visitor> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The owner first and the network last: no crowd keeps the user from looking what is wrong.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Visitor>> {
        if let Some(socket) = &self.unix
            && let Poll::Ready(accepted) = socket.poll_accept(context)
        {
            return Poll::Ready(accepted.map(|stream| Visitor {
                stream: Box::new(stream),
                caller: Caller::Owner,
            }));
        }
        if let Some(streams) = &mut self.streams {
            match streams.poll_recv(context) {
                Poll::Ready(Some(visitor)) => return Poll::Ready(Ok(visitor)),
                Poll::Ready(None) => self.streams = None,
                Poll::Pending => {}
            }
        }
        for listener in &self.tcp {
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                return Poll::Ready(accepted.map(|(stream, peer)| {
                    // Answers are written whole; waiting for more to send only delays them.
                    let _ = stream.set_nodelay(true);
                    Visitor {
                        stream: Box::new(stream),
                        caller: Caller::Network(peer.ip()),
                    }
                }));
            }
        }
        Poll::Pending
    }
}
