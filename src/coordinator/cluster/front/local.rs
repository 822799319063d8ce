//! What a member answers out of its own file, whoever leads: it may be old, and the caller asked for that.

use std::sync::Arc;

use axum::http::header::ACCEPT;
use axum::http::{Method, Request};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;

use crate::coordinator::api;
use crate::coordinator::api::error::Refused;
use crate::coordinator::front::Front;
use crate::coordinator::{Caller, admission};

const STATE: &str = "/v1/state";

/// Tells whether the caller wants no more than what this member has.
pub fn is_asked<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| pair == "consistency=local")
}

/// Tells whether that can be answered by a member which does not lead.
pub fn can_answer<B>(request: &Request<B>) -> bool {
    // A stream goes on with what happens, and that is heard of at the leader.
    let streams = request
        .headers()
        .get(ACCEPT)
        .is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"));
    if request.method() != Method::GET || streams {
        return false;
    }
    let path: Vec<&str> = request.uri().path().split('/').skip(1).collect();
    matches!(
        path.as_slice(),
        ["v1", "state" | "jobs" | "groups"]
            | ["v1", "jobs" | "groups", _]
            | ["v1", "jobs", _, "logs" | "attempts"]
    )
}

/// Answers it.
pub async fn answer(front: &Front, caller: Arc<Caller>, request: Request<Incoming>) -> Response {
    let room = if request.uri().path() == STATE {
        match front.means().remembering().await {
            Ok(room) => room,
            Err(error) => return Refused::from(error).into_response(),
        }
    } else {
        front.means().reading()
    };
    let room = Arc::new(room);
    let router = api::reading(Arc::clone(&room));
    admission::answer(&room, router, caller, request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(uri: &str) -> Request<()> {
        Request::builder().uri(uri).body(()).unwrap()
    }

    #[test]
    fn only_what_is_in_the_file_is_answered_from_it() {
        for uri in [
            "/v1/state?consistency=local",
            "/v1/jobs?status=queued&consistency=local",
            "/v1/jobs/j?consistency=local",
            "/v1/jobs/j/logs?cursor=1&consistency=local",
            "/v1/groups?consistency=local",
            "/v1/groups/g?consistency=local",
        ] {
            assert!(is_asked(&get(uri)) && can_answer(&get(uri)), "{uri}");
        }
        for uri in [
            "/v1/hosts",
            "/v1/events",
            "/v1/network/peers",
            "/v1/jobs/",
            "/health",
        ] {
            let asked = get(uri);
            assert!(!is_asked(&asked), "{uri}");
            assert!(uri == "/v1/jobs/" || !can_answer(&asked), "{uri}");
        }
        let follows = Request::builder()
            .uri("/v1/jobs/j/logs")
            .header(ACCEPT, "text/event-stream");
        assert!(!can_answer(&follows.body(()).unwrap()));
        let posts = Request::builder().uri("/v1/jobs").method(Method::POST);
        assert!(!can_answer(&posts.body(()).unwrap()));
        assert!(!is_asked(&get("/v1/jobs?consistency=locally")));
    }
}
