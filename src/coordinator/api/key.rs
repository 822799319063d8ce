//! Idempotency keys: which request is the same as an earlier one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};

use super::error::Refused;
use crate::coordinator::Caller;
use crate::queue::Idempotency;
use crate::support::clock::Timestamp;

/// The idempotency key of a request, if it carries one, and the route it holds for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refused> {
        let Some(value) = parts.headers.get("x-idempotency-key") else {
            return Ok(Self(None));
        };
        let key = value
            .to_str()
            .map_err(|_| Refused::bad("x-idempotency-key is not text"))?
            .trim();
        if key.is_empty() {
            return Ok(Self(None));
        }
        if key.len() > 255 {
            return Err(Refused::bad("x-idempotency-key is longer than 255 bytes"));
        }
        let route = decode(parts.uri.path()).unwrap_or_default();
        let key = Self(Some(format!("{route}\n{key}")));
        Ok(
            match parts.extensions.get::<Arc<Caller>>().map(Arc::as_ref) {
                // Or it could be given the answer to another's request, or take others' keys away.
                Some(Caller::Host { name, .. }) => key.of(&format!("host {name}")),
                Some(Caller::Owner | Caller::Network(_)) | None => key,
            },
        )
    }
}

impl Key {
    /// Tells whether there is none.
    pub const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the key within the space of `owner`, whose keys are not those of others.
    #[must_use]
    pub fn of(self, owner: &str) -> Self {
        Self(self.0.map(|key| format!("{key}\n{owner}")))
    }

    /// Returns what the queue remembers the answer by.
    pub fn envelope(&self, body: &[u8], now: Timestamp, ttl: Duration) -> Option<Idempotency> {
        self.0.as_ref().map(|key| Idempotency {
            key: key.clone(),
            body_hash: canonical_hash(body),
            expires_at: now.plus(ttl),
        })
    }
}

/// Returns the same hash for bodies that differ only in white space and in the order of keys.
fn canonical_hash(body: &[u8]) -> [u8; 32] {
    // Maps of `serde_json::Value` are sorted only as long as nobody in the tree asks for insertion
    // order, so the order is made here.
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(untagged)]
    enum Sorted {
        Map(BTreeMap<String, Sorted>),
        List(Vec<Sorted>),
        Other(serde_json::Value),
    }
    let canonical =
        serde_json::from_slice::<Sorted>(body).and_then(|sorted| serde_json::to_vec(&sorted));
    match canonical {
        Ok(text) => Sha256::digest(text).into(),
        Err(_) if body.iter().all(u8::is_ascii_whitespace) => Sha256::digest(b"{}").into(),
        // Whoever can read it otherwise must tell it from others.
        Err(_) => Sha256::digest(body).into(),
    }
}

/// Returns percent-encoded text decoded, or nothing if it is not well formed.
pub fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        if digits.starts_with('+') {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bodies_hash_alike_whatever_their_order() {
        let one = canonical_hash(br#"{"a":{"x":1,"y":[1,2]},"b":"t"}"#);
        assert_eq!(
            one,
            canonical_hash(br#" {"b":"t", "a":{"y":[1,2],"x":1}} "#)
        );
        assert_ne!(one, canonical_hash(br#"{"a":{"x":1,"y":[2,1]},"b":"t"}"#));
        assert_eq!(canonical_hash(b" "), canonical_hash(b"{}"));
        assert_ne!(canonical_hash(br#"["\ud83d"]"#), canonical_hash(b"{}"));
    }

    #[test]
    fn percent_encoding_is_decoded_or_refused() {
        assert_eq!(decode("/v1/a%20b%2Fc").unwrap(), "/v1/a b/c");
        for bad in ["%", "%2", "%zz", "%+1", "%ff"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
