//! Answers with a JSON body.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The content type of every JSON answer, as the original writes it.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An answer of 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<T> {
    body: T,
    replayed: bool,
}

impl<T> Reply<T> {
    /// Answers with `body`.
    pub const fn new(body: T) -> Self {
        Self {
            body,
            replayed: false,
        }
    }

    /// Answers with `body`, which may be that of an earlier request with the same key.
    pub const fn keyed(body: T, replayed: bool) -> Self {
        Self { body, replayed }
    }

    /// Returns the same answer with another body.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Reply<U> {
        Reply {
            body: change(self.body),
            replayed: self.replayed,
        }
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let mut text = Vec::with_capacity(512);
        if let Err(error) = serde_json::to_writer(&mut text, &self.body) {
            tracing::error!(%error, "an answer has no JSON form");
            return super::error::Refused::new(
                crate::protocol::api::Code::Internal,
                "internal error",
            )
            .into_response();
        }
        let mut response = Response::new(Body::from(text));
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        if self.replayed {
            let yes = HeaderValue::from_static("true");
            response.headers_mut().insert(REPLAYED, yes);
        }
        response
    }
}
