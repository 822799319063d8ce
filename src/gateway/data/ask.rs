//! One question to an endpoint, as its requests would be put and over a connection of its own: how it does.

use std::time::Duration;

use hyper::header::{ACCEPT, HeaderValue, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, StatusCode};

use super::connect::{self, Opened, Wish};
use super::send::{Outgoing, aim};
use crate::gateway::endpoint::Endpoint;

const WHO: &str = concat!("skyclaw-gateway/", env!("CARGO_PKG_VERSION"));

/// Returns what the endpoint answers to a `GET` of this target, if it does within this time.
pub async fn ask(
    endpoint: &Endpoint,
    target: PathAndQuery,
    within: Duration,
) -> Option<StatusCode> {
    let asking = async {
        let opened = connect::open(within, endpoint, Wish::Best).await.ok()?;
        let mut request = Request::new(Outgoing::nothing());
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(WHO));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        let shared = matches!(opened, Opened::Many(_));
        aim(&mut request, endpoint, target, shared)?;
        let answer = match opened {
            Opened::One(mut sender) => sender.send_request(request).await,
            Opened::Many(channel) => channel.enter()?.sender().send_request(request).await,
        };
        Some(answer.ok()?.status())
    };
    tokio::time::timeout(within, asking).await.ok().flatten()
}
