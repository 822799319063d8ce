//! What every request passes before its handler: encoding, token or key, CORS. One function. What a
//! host may do over its tunnel is decided behind it, where the route is known, in `api/scope`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::Room;
use super::api::error::Refused;
use super::api::key::decode;
use super::auth::shows;
use super::caller::Caller;
use crate::protocol::api::Code;

const PUBLIC: &str = "/v1/public/jobs";
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
pub async fn answer(
    room: &Room,
    router: Router,
    caller: Arc<Caller>,
    mut request: Request<Incoming>,
) -> Response {
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
                None => route(router, request).await,
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
    route(router, request).await
}

/// Refuses writes where more coordinators are asked for than there are.
fn too_few(room: &Room, request: &Request<Incoming>) -> Option<Refused> {
    let needed = room.settings.min_replications;
    let path = request.uri().path();
    let between_peers = path.starts_with("/v1/network/") || path.starts_with("/v1/replicate/");
    (needed > 1 && request.method() == Method::POST && !between_peers).then(|| {
        let peers = needed - 1;
        Refused::new(
            Code::Unavailable,
            format!("insufficient peers: requires at least {peers} known peers, got 0"),
        )
    })
}

async fn route(router: Router, request: Request<Incoming>) -> Response {
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

fn admit_key(room: &Room, request: &mut Request<Incoming>) -> Admitted {
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
