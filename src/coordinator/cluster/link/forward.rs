//! Passing a request on to the member that leads: both bodies stream, and nobody waits longer than its caller.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::header::EXPECT;
use axum::http::request::Parts;
use axum::http::{Request, Response, Version};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use reqwest::Url;

use super::connection::{Link, Unanswered};
use super::error::{ForwardError, LinkError};
use super::hops;
use super::links::Links;
use super::marks::{AS, written};
use super::outgoing::Outgoing;
use super::pool::Pool;
use crate::coordinator::Caller;
use crate::queue::cluster::{Member, MemberId};

impl Links {
    /// Passes a request of `caller` on to a member and returns its answer. Both bodies go through as they come. When
    /// what this returns is dropped, or its body before the end, the member sees its caller leave.
    ///
    /// # Errors
    /// When there is no answer. Says whether the request may have been done; if not, it is given back.
    pub async fn forward(
        &self,
        member: &(MemberId, Member),
        request: Request<Incoming>,
        caller: &Caller,
    ) -> Result<Response<Body>, ForwardError> {
        let (head, body) = request.into_parts();
        match self
            .passed_on(member, &head, Outgoing::passing(body), caller)
            .await
        {
            Ok(answer) => Ok(answer),
            Err(Undone::Unsent(body, why)) => Err(ForwardError::Unsent {
                request: Box::new(back(head, *body)?),
                why,
            }),
            Err(Undone::Unknown(why)) => Err(ForwardError::Unknown { why }),
        }
    }

    /// Passes a request on as [`Self::forward`] does whose body is here already, so that its caller can do so again.
    ///
    /// # Errors
    /// When there is no answer. Says whether the request may have been done.
    pub async fn forward_whole(
        &self,
        member: &(MemberId, Member),
        request: Request<Bytes>,
        caller: &Caller,
    ) -> Result<Response<Body>, LinkError> {
        let (head, bytes) = request.into_parts();
        let whole = Outgoing::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()));
        let body = (whole, Arc::new(AtomicBool::new(true)));
        let answer = self.passed_on(member, &head, body, caller).await;
        answer.map_err(|undone| match undone {
            Undone::Unsent(_, why) | Undone::Unknown(why) => why,
        })
    }

    async fn passed_on(
        &self,
        member: &(MemberId, Member),
        head: &Parts,
        (mut body, sent): (Outgoing, Arc<AtomicBool>),
        caller: &Caller,
    ) -> Result<Response<Body>, Undone> {
        let Some(on_behalf) = written(caller) else {
            let why = "a host's tunnel ends at the coordinator that dug it";
            return Err(Undone::unsent(body, LinkError::Unfit { why }));
        };
        let (id, Member { url: known, .. }) = member;
        let text = &self.moved().place(*id, known);
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => {
                let (url, why) = (text.clone(), error.to_string());
                return Err(Undone::unsent(body, LinkError::Address { url, why }));
            }
        };
        let mut headers = head.headers.clone();
        hops::end(&mut headers);
        // Answered here, when the first byte of the body is asked for.
        headers.remove(EXPECT);
        headers.insert(AS, on_behalf);
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let is_empty = body.is_end_stream();
        let mut fresh = false;
        loop {
            let mut link = match self.line(&url, Some(*id), fresh).await {
                Ok(link) => link,
                Err(why) => return Err(Undone::unsent(body, why)),
            };
            match link.send(&head.method, path, headers.clone(), body).await {
                Ok(answer) => return Ok(passing(answer, link, sent, Arc::clone(self.pool()))),
                Err(Unanswered::Unsent(given_back)) if link.reused => {
                    // The other side closed it while it lay idle.
                    (body, fresh) = (*given_back, true);
                }
                Err(Unanswered::Unsent(given_back)) => {
                    let why = LinkError::Unreachable {
                        url: text.clone(),
                        why: "it broke off before anything was sent".to_owned(),
                    };
                    return Err(Undone::Unsent(given_back, why));
                }
                // The other side closed it just now, and to look twice does no harm.
                Err(Unanswered::Lost(_)) if link.reused && head.method.is_safe() && is_empty => {
                    (body, fresh) = (Outgoing::Whole(None), true);
                }
                Err(Unanswered::Lost(why)) => {
                    let url = text.clone();
                    return Err(Undone::Unknown(LinkError::Lost { url, why }));
                }
            }
        }
    }
}

/// Why a request has no answer, and its body if nothing of it was sent.
enum Undone {
    Unsent(Box<Outgoing>, LinkError),
    Unknown(LinkError),
}

impl Undone {
    fn unsent(body: Outgoing, why: LinkError) -> Self {
        Self::Unsent(Box::new(body), why)
    }
}

/// Puts a request together again.
fn back(head: Parts, body: Outgoing) -> Result<Request<Incoming>, ForwardError> {
    match body {
        Outgoing::Passing { body, .. } => Ok(Request::from_parts(head, body)),
        // It was made of a caller's body.
        Outgoing::Whole(_) => Err(ForwardError::Unknown {
            why: LinkError::Unfit {
                why: "its body is gone",
            },
        }),
    }
}

fn passing(
    answer: Response<Incoming>,
    link: Link,
    sent: Arc<AtomicBool>,
    pool: Arc<Pool>,
) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    hops::end(&mut head.headers);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    let passing = Passing {
        body,
        held: Some((link, sent, pool)),
    };
    Response::from_parts(head, Body::new(passing))
}

/// The body of a member's answer, and the connection that it comes over.
struct Passing {
    body: Incoming,
    held: Option<(Link, Arc<AtomicBool>, Arc<Pool>)>,
}

impl Passing {
    fn is_cut(&self) -> bool {
        self.held.as_ref().is_some_and(|(link, ..)| link.was_cut())
    }

    /// Keeps the connection: the answer was read to its end. One that still sends the request's body ends.
    fn end(&mut self) {
        if let Some((link, sent, pool)) = self.held.take()
            && sent.load(Ordering::Acquire)
        {
            pool.put(link);
        }
    }
}

impl HttpBody for Passing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(match polled {
            Some(Ok(frame)) => Some(Ok(frame)),
            Some(Err(error)) => {
                self.held = None;
                Some(Err(io::Error::other(error)))
            }
            None if self.is_cut() => {
                self.held = None;
                Some(Err(io::Error::other("the member does not lead any more")))
            }
            None => {
                self.end();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body of known length is not polled again after its last byte, so its end is seen here. One that is dropped before
/// (the caller left) takes the connection down with it.
impl Drop for Passing {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.end();
        }
    }
}
