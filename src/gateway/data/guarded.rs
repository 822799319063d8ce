//! A TCP stream that does not wait for ever to be written to, and that lets an early answer arrive.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::caller::Place;
use super::stall::Stall;

/// How long and how much a caller may go on sending after its answer, and be listened to.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES: usize = 64 << 20;

/// A TCP stream that gives up when the other end takes nothing for too long.
#[derive(Debug)]
pub struct Guarded {
    /// There until it is dropped.
    stream: Option<TcpStream>,
    stall: Stall,
    lingers: Option<Arc<AtomicBool>>,
    /// Held also while it is a tunnel.
    _place: Option<Place>,
}

impl Guarded {
    /// Returns a caller's stream. If `lingers` is set when it ends, it goes on reading for a moment: a stream that is
    /// closed while something unread lies in it takes the answer away from whoever still sends.
    pub fn of_caller(
        stream: TcpStream,
        idle: Duration,
        lingers: Arc<AtomicBool>,
        place: Place,
    ) -> Self {
        Self {
            stream: Some(stream),
            stall: Stall::new(idle),
            lingers: Some(lingers),
            _place: Some(place),
        }
    }

    /// Returns a backend's stream.
    pub fn of_backend(stream: TcpStream, idle: Duration) -> Self {
        Self {
            stream: Some(stream),
            stall: Stall::new(idle),
            lingers: None,
            _place: None,
        }
    }

    /// Looks at the first bytes.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match &self.stream {
            Some(stream) => stream.peek(bytes).await,
            None => Ok(0),
        }
    }

    fn guard(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let written = write(Pin::new(stream), context);
        if written.is_ready() {
            self.stall.moved();
        } else if self.stall.poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_read(context, buffer),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.guard(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.guard(context, |stream, context| {
            stream.poll_write_vectored(context, parts)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_shutdown(context),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let lingers = self.lingers.as_ref();
        if lingers.is_some_and(|lingers| lingers.load(Ordering::Relaxed))
            && let Some(stream) = self.stream.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                let _ = tokio::time::timeout(LINGER, linger(stream)).await;
            });
        }
    }
}

async fn linger(mut stream: TcpStream) {
    // That nothing more comes is heard at once.
    let _ = stream.shutdown().await;
    let mut scrap = vec![0; 16 << 10];
    let mut left = LINGER_BYTES;
    while let Ok(count) = stream.read(&mut scrap).await {
        left = left.saturating_sub(count);
        if count == 0 || left == 0 {
            return;
        }
    }
}
