//! Reading what a request carries: its body within limits, its query.

use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::error::Refused;
use super::surrogates;
use crate::protocol::api::Code;

/// What an ordinary body may hold.
pub const SMALL: usize = 1 << 20;
/// What results, logs and batches may hold: two outputs of 128 KiB grow sixfold in JSON.
pub const LARGE: usize = 16 << 20;
/// What a snapshot of a peer may hold.
pub const HUGE: usize = 64 << 20;

/// How deep JSON may be nested.
const DEPTH: usize = 64;
/// How long a body may take to arrive, plus a second for each [`PACE`] bytes that did.
const PATIENCE: Duration = Duration::from_secs(30);
const PACE: usize = 16 << 10;
/// How much of a body that is too long is read and dropped, so that its sender reads the answer
/// rather than a reset.
const DROPPED: usize = 64 << 20;

/// A JSON body of at most `LIMIT` bytes, whatever its content type says. None at all reads as `{}`.
#[derive(Debug)]
pub struct Body<T, const LIMIT: usize = SMALL> {
    /// What it says.
    pub value: T,
    /// How it was sent.
    pub bytes: Bytes,
}

impl<S: Send + Sync, T: DeserializeOwned, const LIMIT: usize> FromRequest<S> for Body<T, LIMIT> {
    type Rejection = Refused;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        let bytes = read(&parts.headers, body, LIMIT).await?;
        let value = exact(&bytes)?;
        Ok(Self { value, bytes })
    }
}

/// A large JSON body with what came of a job. Halves of characters in it are no reason to lose it.
#[derive(Debug)]
pub struct Results<T> {
    /// What it says.
    pub value: T,
    /// How it was sent.
    pub bytes: Bytes,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Results<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        let bytes = read(&parts.headers, body, LARGE).await?;
        let value = mended(&bytes)?;
        Ok(Self { value, bytes })
    }
}

/// Reads the value of a [`Body`].
///
/// # Errors
/// When the bytes are not such a value.
pub fn exact<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    parse(bytes)?.map_err(|error| Refused::bad(error.to_string()))
}

/// Reads the value of [`Results`].
///
/// # Errors
/// When the bytes are not such a value.
pub fn mended<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    let value = match parse(bytes)? {
        Ok(value) => Ok(value),
        Err(error) => match surrogates::mended(bytes) {
            Some(mended) => parse(&mended)?,
            None => Err(error),
        },
    };
    value.map_err(|error| Refused::bad(error.to_string()))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<serde_json::Result<T>, Refused> {
    let text = if bytes.iter().all(u8::is_ascii_whitespace) {
        b"{}".as_slice()
    } else {
        bytes
    };
    if !shallow(text) {
        return Err(Refused::bad(format!(
            "the body is nested deeper than {DEPTH} levels"
        )));
    }
    Ok(serde_json::from_slice(text))
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// When it is longer, too slow or broken off.
pub async fn read(headers: &HeaderMap, mut body: HttpBody, limit: usize) -> Result<Bytes, Refused> {
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let waits = headers.contains_key(EXPECT);
    if length.is_some_and(|length| length > limit as u64) {
        if !waits {
            drain(&mut body).await;
        }
        return Err(too_large(limit));
    }
    let start = Instant::now();
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    let mut received = 0;
    loop {
        let patience = PATIENCE + Duration::from_secs((received / PACE) as u64);
        let frame = match timeout_at(start + patience, body.frame()).await {
            Err(_) => {
                return Err(Refused::bad("the body did not arrive in time").closing());
            }
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a body broke off");
                return Err(Refused::bad("the body broke off").closing());
            }
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        received += data.len();
        if received > limit {
            drain(&mut body).await;
            return Err(too_large(limit));
        }
        // Most bodies come in one piece, which need not be copied.
        if first.is_none() && all.is_empty() {
            first = Some(data);
        } else {
            if let Some(first) = first.take() {
                all.reserve(length.map_or(0, |length| usize::try_from(length).unwrap_or(0)));
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

fn too_large(limit: usize) -> Refused {
    Refused::new(
        Code::TooLarge,
        format!("the body is longer than {limit} bytes"),
    )
    .closing()
}

async fn drain(body: &mut HttpBody) {
    let end = Instant::now() + Duration::from_secs(5);
    let mut left = DROPPED;
    while let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// Tells whether JSON text is nested at most [`DEPTH`] levels. Text that is no JSON may pass.
fn shallow(text: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for byte in text {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH {
                    return false;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// The query of a request. Words that nobody asks for are ignored.
#[derive(Debug)]
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Query::from_request_parts(parts, state)
            .await
            .map(|Query(asked)| Self(asked))
            .map_err(|rejection| Refused::bad(rejection.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(shallow(nested(64).as_bytes()));
        assert!(!shallow(nested(65).as_bytes()));
        assert!(shallow(
            format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(99), "{".repeat(99)).as_bytes()
        ));
    }
}
