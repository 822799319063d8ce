//! What the gateway itself answers, in the original's form: `{"error": "<text>"}`.

use bytes::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

/// An answer of the gateway itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// What is wrong, or what was asked for.
    pub body: Bytes,
    /// The type of that.
    pub content_type: &'static str,
    /// When to ask again, in seconds.
    pub retry_after: Option<u32>,
    /// Whether the connection ends with it: the rest of the request is not read.
    pub closes: bool,
}

const JSON: &str = "application/json; charset=utf-8";

impl Answer {
    /// Returns an answer that says what is wrong.
    pub fn refused(status: StatusCode, text: impl AsRef<str>) -> Self {
        Self::json(status, &json!({ "error": text.as_ref() }))
    }

    /// Returns an answer with a document.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        Self {
            status,
            // Nothing that is answered here can fail to be written.
            body: serde_json::to_vec_pretty(value).unwrap_or_default().into(),
            content_type: JSON,
            retry_after: None,
            closes: false,
        }
    }

    /// Adds when to ask again.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Ends the connection with it.
    #[must_use]
    pub const fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Returns it as it goes to the caller.
    pub fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
