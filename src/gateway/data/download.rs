//! The body of an answer: handed on as it comes, counted, trailers included. When it ends, the backend's connection
//! goes back to the pool.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::framing;
use super::lease::Lease;
use super::stall::Stall;
use super::streams;
use super::upload::Upload;
use crate::gateway::choose::Pick;
use crate::gateway::health::Outcome;
use crate::gateway::visit::Visit;

/// What breaks an answer off.
pub type Broke = Box<dyn Error + Send + Sync>;

/// What goes to the caller.
pub enum Download {
    /// A backend's answer.
    Carried(Box<Carried>),
    /// One of the gateway's own, until it is given.
    Own(Option<Bytes>),
}

/// A backend's answer, with all that is held until its end.
pub struct Carried {
    pub body: Incoming,
    pub lease: Option<Lease>,
    pub upload: Option<Arc<Upload>>,
    pub visit: Visit,
    pub pick: Pick,
    /// What the endpoint has done if the rest is as good as the head.
    pub outcome: Outcome,
    pub stall: Stall,
    /// It goes to a stream of the caller's.
    pub to_stream: bool,
    /// Nothing is left to be known of it.
    pub ended: bool,
}

impl Carried {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broke>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        Poll::Ready(match polled {
            Poll::Pending => {
                if self.stall.poll(context).is_pending() {
                    return Poll::Pending;
                }
                // That nothing happens is nothing that the endpoint did wrong.
                self.breaks("idle");
                Some(Err("nothing came of the answer for too long".into()))
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                self.stall.moved();
                if self.to_stream {
                    streams::moved();
                }
                if let Some(data) = frame.data_ref() {
                    self.visit.sent += data.len() as u64;
                } else if let Some(trailers) = frame.trailers_mut() {
                    framing::clean_trailers(trailers);
                }
                Some(Ok(frame))
            }
            Poll::Ready(Some(Err(error))) => {
                // If the caller's own body was cut off, so was the connection.
                if self
                    .upload
                    .as_ref()
                    .and_then(|upload| upload.cut())
                    .is_none()
                {
                    if self.outcome.is_fine() {
                        self.pick.note(Outcome::Broken);
                    }
                    self.breaks("broken");
                } else {
                    self.breaks("caller");
                }
                Some(Err(error.into()))
            }
            Poll::Ready(None) if self.is_cut_short() => {
                self.pick.note(Outcome::Broken);
                self.breaks("broken");
                Some(Err("the answer has no end".into()))
            }
            Poll::Ready(None) => {
                self.end();
                None
            }
        })
    }

    /// Tells whether a stream was given up without an error and without its end. A server may do that when it has
    /// answered before the end of the request, and then its answer is whole.
    fn is_cut_short(&self) -> bool {
        let shared = self.lease.as_ref().is_some_and(Lease::is_shared);
        let sent = |upload: &Arc<Upload>| upload.has_ended();
        shared && !self.is_whole() && self.upload.as_ref().is_none_or(sent)
    }

    /// Tells whether all of the answer was read. The end of a stream can come after the last byte that it was to have.
    fn is_whole(&self) -> bool {
        let shared = || self.lease.as_ref().is_some_and(Lease::is_shared);
        self.body.is_end_stream() || self.body.size_hint().exact() == Some(0) && shared()
    }

    fn breaks(&mut self, why: &'static str) {
        self.visit.broke(why);
        self.ended = true;
        self.lease = None;
    }

    /// The answer was read to its end.
    fn end(&mut self) {
        self.ended = true;
        if self.outcome.is_fine() {
            self.pick.note(self.outcome);
        }
        let unread = self.upload.as_ref().is_some_and(|upload| upload.leave());
        if let Some(lease) = self.lease.take()
            && !unread
        {
            lease.give_back(self.pick.endpoint());
        }
    }
}

/// A body of known length is not polled again after its last byte, so its end is seen here. One that is dropped before
/// (the caller left) takes the backend's connection down with it.
impl Drop for Carried {
    fn drop(&mut self) {
        if !self.ended {
            if self.is_whole() {
                self.end();
            } else {
                self.visit.broke("caller");
            }
        }
        if let Some(upload) = &self.upload {
            upload.leave();
            self.visit.received = upload.received();
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Broke;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broke>>> {
        match &mut *self {
            Self::Carried(carried) => carried.poll(context),
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Carried(carried) => carried.body.is_end_stream(),
            Self::Own(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Carried(carried) => carried.body.size_hint(),
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}
