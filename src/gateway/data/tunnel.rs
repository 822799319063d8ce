//! Bytes both ways after an upgrade. An idle tunnel owns no buffer: what is read goes through one buffer of the
//! thread, and only what the other side cannot take at once is kept.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stall::Stall;
use crate::gateway::choose::Pick;
use crate::gateway::visit::Visit;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 << 10].into_boxed_slice());
}

/// Joins the two ends once both have been switched over, until both directions have ended or nothing moves for too
/// long. `pick` counts as under way until then.
pub async fn join(caller: OnUpgrade, backend: OnUpgrade, mut visit: Visit, pick: Pick) {
    let Ok((caller, backend)) = tokio::try_join!(caller, backend) else {
        visit.broke("upgrade");
        return;
    };
    let (mut caller, mut backend) = (TokioIo::new(caller), TokioIo::new(backend));
    let (mut up, mut down) = (Direction::default(), Direction::default());
    let mut stall = Stall::new(visit.gate().settings.idle);
    let ended = poll_fn(|context| {
        let before = up.carried + down.carried;
        let up_ended = up.poll(&mut caller, &mut backend, context)?;
        let down_ended = down.poll(&mut backend, &mut caller, context)?;
        if up_ended.is_ready() && down_ended.is_ready() {
            return Poll::Ready(Ok::<_, io::Error>(()));
        }
        if up.carried + down.carried != before {
            stall.moved();
        }
        ready!(stall.poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    })
    .await;
    if let Err(error) = ended {
        let idle = error.kind() == io::ErrorKind::TimedOut;
        visit.broke(if idle { "idle" } else { "broken" });
    }
    visit.received = up.carried;
    visit.sent = down.carried;
    drop(pick);
}

#[derive(Default)]
struct Direction {
    kept: Vec<u8>,
    written: usize,
    carried: u64,
    ended: bool,
    shut: bool,
}

impl Direction {
    fn poll<R, W>(
        &mut self,
        from: &mut R,
        to: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while let Some(rest) = self
                .kept
                .get(self.written..)
                .filter(|rest| !rest.is_empty())
            {
                match ready!(Pin::new(&mut *to).poll_write(context, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => {
                        self.written += count;
                        self.carried += count as u64;
                    }
                }
            }
            (self.kept, self.written) = (Vec::new(), 0);
            if self.ended {
                if !self.shut {
                    ready!(Pin::new(&mut *to).poll_shutdown(context))?;
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            ready!(SCRATCH.with_borrow_mut(|scratch| self.step(scratch, from, to, context)))?;
        }
    }

    /// Reads once, and writes at once what can be written.
    fn step<R, W>(
        &mut self,
        scratch: &mut [u8],
        from: &mut R,
        to: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buffer = ReadBuf::new(scratch);
        if Pin::new(from).poll_read(context, &mut buffer)?.is_pending() {
            // A TLS stream may still hold what was written before.
            let _ = Pin::new(to).poll_flush(context)?;
            return Poll::Pending;
        }
        let data = buffer.filled();
        if data.is_empty() {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        let sent = match Pin::new(to).poll_write(context, data)? {
            Poll::Ready(sent) => sent,
            Poll::Pending => 0,
        };
        self.carried += sent as u64;
        self.kept
            .extend_from_slice(data.get(sent..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}
