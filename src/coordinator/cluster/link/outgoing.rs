//! The body of a request to another member: whole, or what a caller sends at this moment.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// The body.
#[derive(Debug)]
pub enum Outgoing {
    /// All of it, until it is given.
    Whole(Option<Bytes>),
    /// A caller's.
    Passing {
        /// Where it comes from.
        body: Incoming,
        /// Becomes true with its last byte.
        ended: Arc<AtomicBool>,
    },
}

impl Outgoing {
    /// Returns a caller's body, and what becomes true with its last byte.
    pub fn passing(body: Incoming) -> (Self, Arc<AtomicBool>) {
        let ended = Arc::new(AtomicBool::new(body.is_end_stream()));
        let passing = Self::Passing {
            body,
            ended: Arc::clone(&ended),
        };
        (passing, ended)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passing { body, ended } => {
                let polled = Pin::new(&mut *body).poll_frame(context);
                // A body of known length is not asked again after its last byte.
                if matches!(polled, Poll::Ready(None)) || body.is_end_stream() {
                    ended.store(true, Ordering::Release);
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Passing { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Passing { body, .. } => body.size_hint(),
        }
    }
}
