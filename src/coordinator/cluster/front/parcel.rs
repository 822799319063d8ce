//! A request that is to be passed on: kept whole, so that it can be sent again, or streamed once.

use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};

use crate::coordinator::Caller;
use crate::coordinator::api::body;
use crate::coordinator::api::error::Refused;
use crate::coordinator::api::repeat;
use crate::coordinator::cluster::{ForwardError, LinkError, Links};
use crate::protocol::api::repeat::WAITED;
use crate::protocol::api::{Code, ErrorBody};
use crate::queue::cluster::{Member, MemberId};

/// How long a body may be that is kept.
const KEPT: usize = 1 << 20;
/// How long the body of a refusal is at most.
const REFUSAL: usize = 4 << 10;

/// A request.
pub enum Parcel {
    /// May be sent as often as is needed.
    Kept(Box<Parts>, Bytes),
    /// May not be done twice, is too long to be kept, or comes from a stranger, whose bytes fill no memory here.
    Once(Box<Request<Incoming>>),
}

/// What came of sending it.
pub enum Sent {
    /// An answer.
    Answered(Response<Body>),
    /// None, and it may be sent again.
    Again(Parcel, Why),
    /// None, and it may have been done.
    Unknown(LinkError),
}

/// Why it may be sent again.
pub enum Why {
    /// Nobody took it.
    Unsent(LinkError),
    /// The answer was that nobody leads there.
    NoLeader,
    /// The answer was lost.
    Lost(LinkError),
}

impl Parcel {
    /// Returns the request in the form in which it can be passed on. `known`: its caller is one of those who are let in.
    ///
    /// # Errors
    /// When its body does not come.
    pub async fn of(request: Request<Incoming>, known: bool) -> Result<Self, Refused> {
        let length = request.body().size_hint().exact();
        let is_short =
            length.is_some_and(|length| length <= KEPT as u64) && (known || length == Some(0));
        if !is_short || !may_be_repeated(request.method(), request.headers()) {
            return Ok(Self::Once(Box::new(request)));
        }
        let (head, incoming) = request.into_parts();
        let bytes = body::read(&head.headers, Body::new(incoming), KEPT).await?;
        Ok(Self::Kept(Box::new(head), bytes))
    }

    /// Returns the request for whoever answers it here.
    pub fn opened(self) -> Request<Body> {
        match self {
            Self::Kept(head, bytes) => Request::from_parts(*head, Body::from(bytes)),
            Self::Once(request) => request.map(Body::new),
        }
    }

    /// Says how long its caller has been waiting, so that who answers waits for the rest only.
    pub fn waited(&mut self, span: Duration) {
        let headers = match self {
            Self::Kept(head, _) => &mut head.headers,
            Self::Once(request) => request.headers_mut(),
        };
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        headers.insert(WAITED, millis.into());
    }

    /// Sends it to a member.
    pub async fn send(self, links: &Links, to: &(MemberId, Member), caller: &Caller) -> Sent {
        match self {
            Self::Once(request) => match links.forward(to, *request, caller).await {
                Ok(answer) => Sent::Answered(answer),
                Err(ForwardError::Unsent { request, why }) => {
                    Sent::Again(Self::Once(request), Why::Unsent(why))
                }
                Err(ForwardError::Unknown { why }) => Sent::Unknown(why),
            },
            Self::Kept(head, bytes) => {
                let request = Request::from_parts((*head).clone(), bytes.clone());
                let parcel = Self::Kept(head, bytes);
                match links.forward_whole(to, request, caller).await {
                    Ok(answer) => match looked_at(answer).await {
                        Some(answer) => Sent::Answered(answer),
                        None => Sent::Again(parcel, Why::NoLeader),
                    },
                    Err(why) if why.may_have_arrived() => Sent::Again(parcel, Why::Lost(why)),
                    Err(why) => Sent::Again(parcel, Why::Unsent(why)),
                }
            }
        }
    }
}

/// Tells whether doing it twice is the same as doing it once.
fn may_be_repeated(method: &Method, headers: &HeaderMap) -> bool {
    method.is_safe()
        || repeat::is_named(headers)
        || headers
            .get("x-idempotency-key")
            .is_some_and(|key| !key.as_bytes().trim_ascii().is_empty())
}

/// Returns the answer unless it says that nobody leads there: somebody else may do it then.
async fn looked_at(answer: Response<Body>) -> Option<Response<Body>> {
    let length = answer.body().size_hint().exact();
    let is_short = length.is_some_and(|length| length <= REFUSAL as u64);
    if answer.status() != StatusCode::SERVICE_UNAVAILABLE || !is_short {
        return Some(answer);
    }
    let (head, body) = answer.into_parts();
    let Ok(collected) = Limited::new(body, REFUSAL).collect().await else {
        return None;
    };
    let bytes = collected.to_bytes();
    match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(said) if matches!(said.code, Code::NoLeader | Code::NoQuorum) => None,
        Ok(_) | Err(_) => Some((head, bytes).into_response()),
    }
}
