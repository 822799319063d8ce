//! Requests that come again: under which name, and how much of their time is used up.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::error::Refused;
use crate::protocol::HostId;
use crate::protocol::api::repeat::{LONGEST_NAME, REQUEST, WAITED};
use crate::queue::ClaimMark;

/// What a request says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    name: Option<String>,
    waited: Duration,
}

impl<S: Send + Sync> FromRequestParts<S> for Repeat {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refused> {
        let waited = waited(&parts.headers);
        let Some(value) = parts.headers.get(REQUEST) else {
            return Ok(Self { name: None, waited });
        };
        let name = value.to_str().map(str::trim);
        let name = name.map_err(|_| Refused::bad(format!("{REQUEST} is not text")))?;
        if name.len() > LONGEST_NAME {
            let text = format!("{REQUEST} is longer than {LONGEST_NAME} bytes");
            return Err(Refused::bad(text));
        }
        let name = Some(name.to_owned()).filter(|name| !name.is_empty());
        Ok(Self { name, waited })
    }
}

impl Repeat {
    /// Returns by what the leases are found again that this request of `host` is given; nothing if it has no name.
    pub fn mark(&self, host: &HostId) -> Option<ClaimMark> {
        let name = self.name.as_deref()?;
        Some(ClaimMark::of(host, name))
    }

    /// Returns how much of `wait` is left.
    pub const fn left(&self, wait: Duration) -> Duration {
        wait.saturating_sub(self.waited)
    }
}

/// Returns how long whoever asks has been waiting already.
pub fn waited(headers: &HeaderMap) -> Duration {
    let said = headers.get(WAITED).and_then(|value| value.to_str().ok());
    let millis = said.and_then(|text| text.trim().parse().ok());
    Duration::from_millis(millis.unwrap_or(0))
}

/// Tells whether the request may be sent again by whoever passes it on.
pub fn is_named(headers: &HeaderMap) -> bool {
    let name = headers.get(REQUEST);
    name.is_some_and(|name| !name.as_bytes().trim_ascii().is_empty())
}
