//! The streams of callers' HTTP/2 connections: one that takes nothing of its answer for too long is given up. A caller
//! that opens no window for it keeps the connection alive all the same, and would hold what its answer holds for ever.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;

use super::stall::Stall;

thread_local! {
    /// The answer of the stream that runs now.
    static CURRENT: RefCell<Option<Arc<Answer>>> = const { RefCell::new(None) };
}

/// How far the answer of a stream is.
#[derive(Debug, Default)]
struct Answer(AtomicU64);

/// Takes note that the stream that runs now has got something to send: the head of its answer, or more of the body.
pub fn moved() {
    CURRENT.with_borrow(|current| {
        if let Some(answer) = current {
            answer.0.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Runs streams.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    /// How long one may take nothing.
    pub idle: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(Watched {
            stream: Box::pin(stream),
            answer: Arc::default(),
            seen: 0,
            stall: Stall::new(self.idle),
        });
    }
}

struct Watched<F> {
    stream: Pin<Box<F>>,
    answer: Arc<Answer>,
    /// How far it was when it was last looked at.
    seen: u64,
    stall: Stall,
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        CURRENT.set(Some(Arc::clone(&this.answer)));
        let polled = this.stream.as_mut().poll(context);
        CURRENT.set(None);
        if polled.is_ready() {
            return polled;
        }
        let at = this.answer.0.load(Ordering::Relaxed);
        if at == 0 {
            // Nothing is to be sent yet: who is waited for has limits of its own.
            return Poll::Pending;
        }
        if at != this.seen {
            this.seen = at;
            this.stall.moved();
        }
        this.stall.poll(context)
    }
}
