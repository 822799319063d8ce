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
    deaf: Deaf,
    /// Held also while it is a tunnel.
    _place: Option<Place>,
}

/// What it means that the other end takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deaf {
    /// There is nobody.
    Ends,
    /// It may have answered before the request was complete. That lies there to be read, so what is written goes
    /// nowhere, and reading tells how it ended.
    MaySpeak,
    /// This has come to pass.
    Is,
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
            deaf: Deaf::Ends,
            _place: Some(place),
        }
    }

    /// Returns a backend's stream.
    pub fn of_backend(stream: TcpStream, idle: Duration) -> Self {
        Self {
            stream: Some(stream),
            stall: Stall::new(idle),
            lingers: None,
            deaf: Deaf::MaySpeak,
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
        length: usize,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if self.deaf == Deaf::Is {
            return Poll::Ready(Ok(length));
        }
        let written = write(Pin::new(stream), context);
        if self.deaf == Deaf::MaySpeak && is_deaf(&written) {
            self.deaf = Deaf::Is;
            return Poll::Ready(Ok(length));
        }
        if written.is_ready() {
            self.stall.moved();
        } else if self.stall.poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }
}

fn is_deaf(written: &Poll<io::Result<usize>>) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(written, Poll::Ready(Err(error)) if matches!(error.kind(), BrokenPipe | ConnectionReset))
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
        self.guard(context, bytes.len(), |stream, context| {
            stream.poll_write(context, bytes)
        })
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = parts.iter().map(|part| part.len()).sum();
        self.guard(context, length, |stream, context| {
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
