//! What every request passes before its handler: encoding, token or key, CORS. One function. What a
//! host may do over its tunnel is decided behind it, where the route is known, in `api/scope`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Router};
use bytes::Bytes;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::api::error::Refused;
use super::api::key::decode;
use super::auth::shows;
use super::caller::Caller;
use super::cluster::front::{local, seat};
use super::cluster::voters_for;
use super::{Room, Settings};
use crate::protocol::api::Code;

const PUBLIC: &str = "/v1/public/jobs";
/// Whoever looks why nobody answers must see something.
const ABOUT_MEMBERS: &str = "/v1/network/";
const CORS: [(HeaderName, HeaderValue); 2] = [
    (
        HeaderName::from_static("access-control-allow-methods"),
        HeaderValue::from_static("GET,POST,OPTIONS"),
    ),
    (
        HeaderName::from_static("access-control-allow-headers"),
        HeaderValue::from_static("content-type,authorization,x-api-key,x-idempotency-key"),
    ),
];

/// Answers a request.
pub async fn answer<B>(
    room: &Room,
    router: Router,
    caller: Arc<Caller>,
    mut request: Request<B>,
) -> Response
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    if let Caller::Host {
        token: Some(token), ..
    } = &*caller
        && !shows(request.headers(), std::slice::from_ref(token))
    {
        return Refused::new(Code::Unauthorized, "unauthorized").into_response();
    }
    request.extensions_mut().insert(Arc::clone(&caller));
    let path = request.uri().path();
    if path == "/health" {
        return route(router, request).await;
    }
    if decode(path).is_none() {
        return Refused::bad("the path is not percent-encoded UTF-8").into_response();
    }
    let public = path == PUBLIC
        || path
            .strip_prefix(PUBLIC)
            .is_some_and(|rest| rest.starts_with('/'));
    // To a host it is closed like all that is not its own, so that it cannot try keys either.
    if public && !matches!(*caller, Caller::Host { .. }) {
        let mut response = match admit_key(room, &mut request) {
            Admitted::Yes => match too_few(room, &request) {
                Some(refused) => refused.into_response(),
                None => confirmed(room, router, request).await,
            },
            Admitted::Preflight => StatusCode::NO_CONTENT.into_response(),
            Admitted::No(refused) => refused.into_response(),
        };
        add_cors(room, &mut response);
        return response;
    }
    if let Caller::Network(peer) = &*caller
        && !room.settings.tokens.accept(request.headers())
    {
        return if room.guesses.wrong(*peer) {
            Refused::new(Code::TooMany, "too many wrong tokens")
                .retry_after(Duration::from_secs(1))
                .into_response()
        } else {
            Refused::new(Code::Unauthorized, "unauthorized").into_response()
        };
    }
    if let Some(refused) = too_few(room, &request) {
        return refused.into_response();
    }
    confirmed(room, router, request).await
}

/// Tells whether a caller shows what this coordinator knows: what others send is not kept for them. Whether they are
/// let in is decided by the one that answers.
pub fn is_known(settings: &Settings, caller: &Caller, headers: &HeaderMap) -> bool {
    match caller {
        Caller::Owner | Caller::Host { .. } => true,
        Caller::Network(_) => {
            settings.tokens.accept(headers) || settings.keys.find(headers).is_some()
        }
    }
}

/// Refuses writes where a majority of the voters is fewer coordinators than a write must be on. What is about the
/// members themselves is never refused: it brings more of them.
fn too_few<B>(room: &Room, request: &Request<B>) -> Option<Refused> {
    let copies = room.settings.min_replications;
    if copies <= 1 || request.method().is_safe() || request.uri().path().starts_with(ABOUT_MEMBERS)
    {
        return None;
    }
    let voters = room.members().map_or(1, |members| members.voters());
    let voters = u64::try_from(voters).unwrap_or(u64::MAX);
    let needed = voters_for(copies);
    (voters < needed).then(|| {
        let text = format!(
            "insufficient peers: requires at least {} known peers, got {}",
            needed - 1,
            voters - 1
        );
        Refused::new(Code::Unavailable, text)
    })
}

/// Answers once it is certain that what is read is not old: in a cluster, another may lead by now. What is written is
/// agreed on in any case.
async fn confirmed<B>(room: &Room, router: Router, request: Request<B>) -> Response
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    if let Some(membership) = &room.cluster
        && request.method().is_safe()
        && !local::is_asked(&request)
        && !request.uri().path().starts_with(ABOUT_MEMBERS)
        && let Err(error) = seat::confirmed(&membership.cluster).await
    {
        return Refused::from(error).into_response();
    }
    route(router, request).await
}

async fn route<B>(router: Router, request: Request<B>) -> Response
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    match TowerToHyperService::new(router).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

enum Admitted {
    Yes,
    Preflight,
    No(Refused),
}

fn admit_key<B>(room: &Room, request: &mut Request<B>) -> Admitted {
    if request.method() == Method::OPTIONS {
        return Admitted::Preflight;
    }
    if room.settings.keys.is_empty() {
        return Admitted::No(Refused::new(Code::Unavailable, "public api is disabled"));
    }
    let Some(key) = room.settings.keys.find(request.headers()) else {
        return Admitted::No(Refused::new(Code::Unauthorized, "invalid api key"));
    };
    if let Err(wait) = key.spend() {
        return Admitted::No(
            Refused::new(Code::TooMany, "too many requests with this api key").retry_after(wait),
        );
    }
    request.extensions_mut().insert(Arc::clone(key));
    Admitted::Yes
}

/// Without an origin that is allowed no such header is sent, which forbids other origins to read.
fn add_cors(room: &Room, response: &mut Response<Body>) {
    let Some(origin) = &room.settings.cors_origin else {
        return;
    };
    let Ok(origin) = HeaderValue::try_from(origin) else {
        return;
    };
    let headers = response.headers_mut();
    headers.insert("access-control-allow-origin", origin);
    for (name, value) in CORS {
        headers.insert(name, value);
    }
}
