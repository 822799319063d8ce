//! Callers that come back to the same endpoint: by the value of a header or a cookie.
//!
//! Nothing is remembered. The value and each endpoint's address are mixed to a number and the greatest wins, so all
//! gateways choose alike, and when an endpoint goes only its own callers move.

use std::str::FromStr;

use hyper::HeaderMap;
use hyper::header::{COOKIE, HeaderName, HeaderValue};

use crate::support::ids;

/// What tells callers apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sticky {
    /// The value of this header. Requests without it go anywhere.
    Header(HeaderName),
    /// The value of this cookie. Callers without it are given one.
    Cookie(String),
}

/// Why a text is no [`Sticky`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write header:NAME or cookie:NAME")]
pub struct NotSticky;

impl FromStr for Sticky {
    type Err = NotSticky;

    fn from_str(text: &str) -> Result<Self, NotSticky> {
        let token = |c: char| c.is_ascii_alphanumeric() || "-_.!#$&'*+^`|~".contains(c);
        match text.split_once(':') {
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| NotSticky),
            Some(("cookie", name)) if !name.is_empty() && name.chars().all(token) => {
                Ok(Self::Cookie(name.to_owned()))
            }
            Some(_) | None => Err(NotSticky),
        }
    }
}

/// Which endpoint a caller belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Belonging {
    /// To be mixed with the endpoints; none if the caller goes anywhere.
    pub key: Option<u64>,
    /// For `set-cookie` of the answer.
    pub cookie: Option<HeaderValue>,
}

impl Sticky {
    /// Returns where the sender of these headers belongs. `path` is what a cookie is made for.
    pub fn of(&self, headers: &HeaderMap, path: &str) -> Belonging {
        match self {
            Self::Header(name) => Belonging {
                key: headers.get(name).map(|value| hash(value.as_bytes())),
                cookie: None,
            },
            Self::Cookie(name) => {
                if let Some(value) = cookie(headers, name) {
                    return Belonging {
                        key: Some(hash(value)),
                        cookie: None,
                    };
                }
                let fresh = ids::random_hex::<8>();
                let cookie = format!("{name}={fresh}; Path={path}; HttpOnly; SameSite=Lax");
                Belonging {
                    key: Some(hash(fresh.as_bytes())),
                    cookie: HeaderValue::from_str(&cookie).ok(),
                }
            }
        }
    }
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .find_map(|pair| {
            let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
            rest.strip_prefix(b"=")
        })
        .filter(|value| !value.is_empty())
}

/// Returns a number that only depends on the bytes, on every machine (FNV-1a, mixed once more).
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let folded = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(folded)
}

/// Spreads a number over all bits.
pub(super) const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_header_or_a_cookie_can_be_meant() {
        assert_eq!("cookie:sid".parse(), Ok(Sticky::Cookie("sid".to_owned())));
        let header: Sticky = "header:X-User".parse().unwrap();
        assert_eq!(header, Sticky::Header(HeaderName::from_static("x-user")));
        for bad in [
            "sid",
            "cookie:",
            "header:",
            "header:a b",
            "cookie:a=b",
            "cookie:a;b",
            "ip:",
        ] {
            assert_eq!(bad.parse::<Sticky>(), Err(NotSticky), "{bad}");
        }
    }

    #[test]
    fn a_caller_without_the_cookie_is_given_one_and_belongs_to_it() {
        let sticky = Sticky::Cookie("sid".to_owned());
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("xsid=9; a=b"));
        let first = sticky.of(&headers, "/v1/gateway/api");
        let cookie = first.cookie.unwrap();
        let (pair, rest) = cookie.to_str().unwrap().split_once(';').unwrap();
        assert_eq!(rest, " Path=/v1/gateway/api; HttpOnly; SameSite=Lax");
        headers.append(
            COOKIE,
            HeaderValue::from_str(&format!("c=d; {pair}")).unwrap(),
        );
        let again = sticky.of(&headers, "/");
        assert_eq!((again.key, again.cookie), (first.key, None));
    }

    #[test]
    fn without_the_header_a_caller_goes_anywhere() {
        let sticky: Sticky = "header:x-user".parse().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(sticky.of(&headers, "/"), Belonging::default());
        headers.insert("x-user", HeaderValue::from_static("ann"));
        assert_eq!(sticky.of(&headers, "/").key, Some(hash(b"ann")));
        assert_ne!(hash(b"ann"), hash(b"anm"));
    }
}
