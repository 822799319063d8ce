//! One try of a request: on an idle connection of the endpoint if there is one, otherwise on a new one.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::http::request::Parts;
use hyper::{Request, Response, Uri};

use super::alarm::Alarm;
use super::pool::Lease;
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
}

impl Message {
    /// Tells whether it can be sent from its start.
    pub fn is_whole(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.is_whole())
    }

    fn request(&self, visit: &Visit, endpoint: &Endpoint) -> Option<Request<Outgoing>> {
        let part = self.upload.as_ref().map(Upload::part);
        let mut request = Request::new(Outgoing(part));
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = Uri::from(visit.target(endpoint)?);
        *request.headers_mut() = self.head.headers.clone();
        Visit::address(request.headers_mut(), endpoint);
        Some(request)
    }
}

/// Sends it to this endpoint and waits for the head of the answer.
///
/// A connection that lay idle may have been closed by the other end, which is nobody's fault: then it is sent once
/// more on a new one, if nothing was sent or if sending it twice does no harm.
///
/// # Errors
/// When there is no answer.
pub async fn send(
    visit: &Visit,
    endpoint: &Arc<Endpoint>,
    message: &Message,
) -> Result<(Lease, Response<Incoming>), Failure> {
    let settings = &visit.gate().settings;
    let idle = Lease::idle(endpoint, visit.is_repeatable());
    let open = async || {
        // Boxed because it is large and rare: without, every request would carry the space for it around.
        let opened = Box::pin(Lease::open(settings, endpoint)).await;
        opened.map_err(|cause| Failure::Endpoint(Outcome::Unreachable, cause))
    };
    let mut lease = match idle {
        Some(lease) => lease,
        None => open().await?,
    };
    loop {
        let request = message.request(visit, endpoint).ok_or(Failure::Endpoint(
            Outcome::CallersDoing,
            "its path cannot be passed on",
        ))?;
        let answering = lease.sender.try_send_request(request);
        let upload = message.upload.as_deref();
        let mut error = match wait(answering, upload, settings.first_byte).await? {
            Ok(answer) => return Ok((lease, answer)),
            Err(error) => error,
        };
        let unsent = error.take_message().is_some();
        let error = error.into_error();
        if let Some(cut) = message.upload.as_ref().and_then(|upload| upload.cut()) {
            return Err(Failure::Caller(cut));
        }
        let again = unsent || (visit.is_repeatable() && !error.is_parse());
        if !lease.reused || !again || !message.is_whole() {
            tracing::debug!(endpoint = endpoint.identity.url, %error, "a request got no answer");
            let cause = if error.is_parse() {
                "its answer is not HTTP"
            } else {
                "it closed the connection without an answer"
            };
            return Err(Failure::Endpoint(Outcome::Broken, cause));
        }
        lease = open().await?;
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
