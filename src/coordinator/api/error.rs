//! The one place where a refusal becomes an HTTP answer.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::protocol::Invalid;
use crate::protocol::api::{Code, ErrorBody};
use crate::queue;

use super::reply::JSON;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What the caller can act on.
    pub code: Code,
    /// For people.
    pub text: Cow<'static, str>,
    /// When it may do better.
    pub retry_after: Option<Duration>,
    /// The connection is of no use any more: part of the request was not read.
    pub close: bool,
}

impl Refused {
    /// Refuses with a code and a text.
    pub fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            text: text.into(),
            retry_after: None,
            close: false,
        }
    }

    /// Refuses a malformed request.
    pub fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::BadRequest, text)
    }

    /// Refuses for a while.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Ends the connection after the answer.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = ErrorBody {
            error: self.text.into_owned(),
            code: self.code,
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, JSON)], body).into_response();
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up: earlier would only be refused again.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
                response.headers_mut().insert(RETRY_AFTER, value);
            }
        }
        if self.close {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}

impl From<Invalid> for Refused {
    fn from(invalid: Invalid) -> Self {
        Self::bad(invalid.to_string())
    }
}

impl From<queue::Error> for Refused {
    fn from(error: queue::Error) -> Self {
        match error {
            queue::Error::Invalid(invalid) => invalid.into(),
            queue::Error::NoSuchGroup(id) => {
                Self::new(Code::UnknownGroup, format!("unknown group: {id}"))
            }
            queue::Error::KeyConflict(scope) => {
                let route = scope.split('\n').next().unwrap_or_default();
                Self::new(
                    Code::KeyReuse,
                    format!("idempotency key reuse conflict for route {route}"),
                )
            }
            queue::Error::IdInUse(id) => {
                Self::new(Code::Conflict, format!("{id} is there already"))
            }
            queue::Error::Full { .. } => Self::new(
                Code::Unavailable,
                "the disk of the coordinator is full: nothing was changed",
            )
            .retry_after(Duration::from_secs(5)),
            queue::Error::Busy { .. } | queue::Error::Closed => {
                Self::new(Code::Unavailable, "the queue is busy or closing: try again")
                    .retry_after(Duration::from_secs(1))
            }
            queue::Error::NotLeader { .. } => {
                Self::new(Code::NoLeader, error.to_string()).retry_after(Duration::from_secs(1))
            }
            queue::Error::NoQuorum(_) => {
                Self::new(Code::NoQuorum, error.to_string()).retry_after(Duration::from_secs(1))
            }
            queue::Error::Changing => {
                Self::new(Code::Unavailable, error.to_string()).retry_after(Duration::from_secs(1))
            }
            queue::Error::NotEmpty { .. }
            | queue::Error::NotAMember(_)
            | queue::Error::Behind { .. } => Self::new(Code::Conflict, error.to_string()),
            queue::Error::IsMember { .. }
            | queue::Error::Log { .. }
            | queue::Error::Died(_)
            | queue::Error::Place(_)
            | queue::Error::Open { .. }
            | queue::Error::Newer { .. }
            | queue::Error::Damaged { .. }
            | queue::Error::Storage { .. } => {
                // Paths and causes are for the operator, not for whoever can reach the port.
                tracing::error!(error = %crate::support::chain::chain(&error), "the queue failed");
                Self::new(Code::Unavailable, "the storage of the coordinator failed")
                    .retry_after(Duration::from_secs(5))
            }
        }
    }
}
