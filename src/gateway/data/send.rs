//! One try of a request: on an idle connection of the endpoint if there is one, otherwise on a new one.

use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::HOST;
use hyper::http::request::Parts;
use hyper::http::uri::{self, PathAndQuery};
use hyper::{Request, Response, Uri};

use super::alarm::Alarm;
use super::connect::Wish;
use super::lease::{Lease, Line};
use super::upload::{Cut, Part, Upload};
use crate::gateway::endpoint::Endpoint;
use crate::gateway::health::Outcome;
use crate::gateway::visit::Visit;

/// A request's body, as a connection to a backend sees it.
#[derive(Debug)]
pub struct Outgoing(Option<Part>);

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Some(part) => part.poll(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.0 {
            // The headers say how long it is.
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy)]
pub enum Failure {
    /// The endpoint gave none.
    Endpoint(Outcome, &'static str),
    /// The caller did not send a whole request.
    Caller(Cut),
}

/// What is sent, as often as it is.
pub struct Message {
    /// Its head, cleaned; `host` is put in for each endpoint.
    pub head: Parts,
    /// Its body, if it has one.
    pub upload: Option<Arc<Upload>>,
    /// What it may go over.
    pub wish: Wish,
}

impl Message {
    /// Tells whether it can be sent from its start.
    pub fn is_whole(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.is_whole())
    }

    fn request(
        &self,
        visit: &Visit,
        endpoint: &Endpoint,
        shared: bool,
    ) -> Option<Request<Outgoing>> {
        let part = self.upload.as_ref().map(Upload::part);
        let mut request = Request::new(Outgoing(part));
        *request.method_mut() = self.head.method.clone();
        *request.headers_mut() = self.head.headers.clone();
        aim(&mut request, endpoint, visit.target(endpoint)?, shared)?;
        Some(request)
    }
}

/// Has a request go to this target of an endpoint. HTTP/2 names the host in it and not in a header.
pub fn aim(
    request: &mut Request<Outgoing>,
    endpoint: &Endpoint,
    target: PathAndQuery,
    shared: bool,
) -> Option<()> {
    if !shared {
        *request.uri_mut() = Uri::from(target);
        Visit::address(request.headers_mut(), endpoint);
        return Some(());
    }
    request.headers_mut().remove(HOST);
    let mut whole = uri::Parts::default();
    whole.scheme = Some(endpoint.place.scheme());
    whole.authority = endpoint.place.authority.as_bytes().try_into().ok();
    whole.path_and_query = Some(target);
    *request.uri_mut() = Uri::from_parts(whole).ok()?;
    Some(())
}

impl Outgoing {
    /// Returns the body of a request that has none.
    pub const fn nothing() -> Self {
        Self(None)
    }
}

/// Sends it to this endpoint and waits for the head of the answer.
///
/// A connection that lay idle may have been closed by the other end, which is nobody's fault: then it is sent once
/// more on a new one, if nothing was sent or if sending it twice does no harm. The same if the other end of a shared
/// connection says that it did nothing about it.
///
/// # Errors
/// When there is no answer.
pub async fn send(
    visit: &Visit,
    endpoint: &Arc<Endpoint>,
    message: &Message,
) -> Result<(Lease, Response<Incoming>), Failure> {
    let settings = &visit.gate().settings;
    let open = async || {
        // Boxed because it is large and rare: without, every request would carry the space for it around.
        let opened = Box::pin(Lease::open(settings.idle, endpoint, message.wish)).await;
        opened.map_err(|cause| Failure::Endpoint(Outcome::Unreachable, cause))
    };
    let there = || Lease::there(endpoint, visit.is_repeatable(), message.wish);
    let mut lease = match there() {
        Some(lease) => lease,
        None => open().await?,
    };
    let mut last = false;
    loop {
        let request = message.request(visit, endpoint, lease.is_shared());
        let request = request.ok_or(Failure::Endpoint(
            Outcome::CallersDoing,
            "its path cannot be passed on",
        ))?;
        let upload = message.upload.as_deref();
        let answered = match &mut lease.line {
            Line::One(sender) => {
                let answering = sender.try_send_request(request);
                wait(answering, upload, settings.first_byte).await?
            }
            Line::Many(ticket) => {
                let answering = ticket.sender().try_send_request(request);
                Box::pin(wait(answering, upload, settings.first_byte)).await?
            }
        };
        let mut error = match answered {
            Ok(answer) => return Ok((lease, answer)),
            Err(error) => error,
        };
        let unsent = error.take_message().is_some();
        let error = error.into_error();
        if let Some(cut) = message.upload.as_ref().and_then(|upload| upload.cut()) {
            return Err(Failure::Caller(cut));
        }
        let declined = declined(&error);
        let again = unsent || declined.is_some() || (visit.is_repeatable() && !error.is_parse());
        let excused = lease.reused || declined.is_some();
        if last || !excused || !again || !message.is_whole() {
            tracing::debug!(endpoint = endpoint.identity.url, %error, "a request got no answer");
            let outcome = match declined {
                Some(_) => Outcome::Declined,
                None => Outcome::Broken,
            };
            return Err(Failure::Endpoint(
                outcome,
                cause(&error, declined.is_some()),
            ));
        }
        last = true;
        let another = match (&lease.line, declined) {
            (Line::One(_), _) | (Line::Many(_), Some(Declined::This)) => None,
            (Line::Many(ticket), Some(Declined::All) | None) => {
                ticket.gives_up();
                there()
            }
        };
        lease = match another {
            Some(another) => another,
            None => open().await?,
        };
    }
}

/// What the other end of a shared connection did nothing about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declined {
    /// This request.
    This,
    /// It, and all that might follow on the connection.
    All,
}

/// Tells whether the other end says that it did nothing about a request (RFC 9113, 8.7).
fn declined(error: &hyper::Error) -> Option<Declined> {
    let cause = error.source()?.downcast_ref::<h2::Error>()?;
    if !cause.is_remote() {
        None
    } else if cause.is_go_away() {
        // Those that it may have begun with do not hear of this: they are answered, or end with the connection.
        Some(Declined::All)
    } else {
        (cause.reason() == Some(h2::Reason::REFUSED_STREAM)).then_some(Declined::This)
    }
}

fn cause(error: &hyper::Error, declined: bool) -> &'static str {
    if declined {
        "it does not take the request"
    } else if error.is_parse() {
        "its answer is not HTTP"
    } else if error.source().is_some_and(|cause| cause.is::<h2::Error>()) {
        "it broke the request off without an answer"
    } else {
        "it closed the connection without an answer"
    }
}

/// Waits for an answer. Its time is counted from the end of the request's body.
async fn wait<F: Future>(
    answering: F,
    upload: Option<&Upload>,
    first_byte: Duration,
) -> Result<F::Output, Failure> {
    let mut answering = std::pin::pin!(answering);
    if let Some(upload) = upload {
        tokio::select! {
            biased;
            answered = answering.as_mut() => return Ok(answered),
            over = upload.over() => over.map_err(Failure::Caller)?,
        }
    }
    let silent = "it gave no answer in time";
    let mut alarm = Alarm::after(first_byte);
    poll_fn(|context| {
        if let Poll::Ready(answered) = answering.as_mut().poll(context) {
            return Poll::Ready(Ok(answered));
        }
        ready!(alarm.poll(context));
        Poll::Ready(Err(Failure::Endpoint(Outcome::Silent, silent)))
    })
    .await
}
