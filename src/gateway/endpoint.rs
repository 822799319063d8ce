//! One place where a service answers: its address, its health, how much is under way to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::Scheme;

use super::health::Health;

/// What is spoken at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// HTTP/1.1 in the clear: `http`.
    One,
    /// HTTP/2 in the clear, from the first byte: `h2c`.
    Two,
    /// TLS, in which both sides agree on HTTP/2 or HTTP/1.1: `https`.
    Agreed,
}

/// Where an endpoint is, read from `http(s)://host[:port][/prefix]`, or `h2c://` in place of `http://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What is spoken there.
    pub speech: Speech,
    /// The name or address, without brackets.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
    /// What every path is put behind; empty, or beginning with `/` and not ending with it.
    pub prefix: Box<str>,
    /// What stands in `host` of requests to it.
    pub authority: HeaderValue,
}

impl Place {
    /// Reads an endpoint as hosts report it; `None` if nothing can be sent there.
    pub fn read(text: &str) -> Option<Self> {
        let uri: Uri = text.trim().parse().ok()?;
        let (speech, port) = match uri.scheme_str()? {
            "http" => (Speech::One, 80),
            "h2c" => (Speech::Two, 80),
            "https" => (Speech::Agreed, 443),
            _ => return None,
        };
        let authority = uri.authority()?;
        let host = authority.host().trim_matches(['[', ']']);
        // A password has no business in a list that many read.
        if host.is_empty() || authority.as_str().contains('@') || uri.query().is_some() {
            return None;
        }
        if authority.as_str().contains(':') && !authority.as_str().ends_with(']') {
            // Otherwise a port that is none would count as not given.
            authority.port_u16().filter(|port| *port != 0)?;
        }
        Some(Self {
            speech,
            host: host.into(),
            port: authority.port_u16().unwrap_or(port),
            prefix: uri.path().trim_end_matches('/').into(),
            authority: HeaderValue::from_str(authority.as_str()).ok()?,
        })
    }

    /// Returns the scheme of requests to it.
    pub const fn scheme(&self) -> Scheme {
        match self.speech {
            Speech::One | Speech::Two => Scheme::HTTP,
            Speech::Agreed => Scheme::HTTPS,
        }
    }

    /// Returns its address if it is written as one; a name must be looked up.
    pub fn address(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }
}

/// What makes an endpoint the same one when the list is read again. A new process at an old address is another one,
/// with a health of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The service's id.
    pub service: String,
    /// The assignment's id, or the host's where assignments have none.
    pub assignment: String,
    /// As reported.
    pub url: String,
    /// What is asked for to see whether it is well.
    pub health: Option<String>,
}

/// One place where a service answers. Kept as long as the coordinators say that it is one.
#[derive(Debug)]
pub struct Endpoint {
    /// What makes it this one.
    pub identity: Identity,
    /// Where it is.
    pub place: Place,
    /// How it does.
    pub health: Health,
    /// The same number on every gateway, to choose among endpoints by a key.
    pub(super) hash: u64,
    in_flight: AtomicU32,
    failures: AtomicU64,
    retired: AtomicBool,
    /// HTTP/1.1 was agreed on the last time.
    one: AtomicBool,
}

impl Endpoint {
    /// Returns the endpoint with this identity; `None` if nothing can be sent to its address.
    pub fn new(identity: Identity) -> Option<Self> {
        Some(Self {
            place: Place::read(&identity.url)?,
            hash: super::sticky::hash(identity.url.as_bytes()),
            identity,
            health: Health::default(),
            in_flight: AtomicU32::new(0),
            failures: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            one: AtomicBool::new(false),
        })
    }

    /// Returns how many requests are under way to it.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns how many requests to it failed by its own doing.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Tells whether it is in no list any more. A request that is under way may still hold it.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Tells whether HTTP/1.1 was agreed on there the last time.
    pub fn was_one(&self) -> bool {
        self.one.load(Ordering::Relaxed)
    }

    pub(super) fn note_one(&self, one: bool) {
        self.one.store(one, Ordering::Relaxed);
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that goes to it, unless `most` do already.
    pub(super) fn enter(self: &Arc<Self>, most: u32) -> bool {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) < most {
            return true;
        }
        self.leave();
        false
    }

    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_with_their_prefix_and_nothing_else_is_one() {
        let read = |text: &str| {
            let place = Place::read(text)?;
            let authority = place.authority.to_str().unwrap().to_owned();
            Some((
                place.speech,
                place.host.to_string(),
                place.port,
                place.prefix.to_string(),
                authority,
            ))
        };
        let is = |speech, host: &str, port, prefix: &str, authority: &str| {
            Some((
                speech,
                host.to_owned(),
                port,
                prefix.to_owned(),
                authority.to_owned(),
            ))
        };
        for (text, place) in [
            (
                "http://10.0.0.5:3100",
                is(Speech::One, "10.0.0.5", 3100, "", "10.0.0.5:3100"),
            ),
            ("http://h/", is(Speech::One, "h", 80, "", "h")),
            ("https://h/a/b//", is(Speech::Agreed, "h", 443, "/a/b", "h")),
            (
                "http://[::1]:3100/x",
                is(Speech::One, "::1", 3100, "/x", "[::1]:3100"),
            ),
            ("http://[::1]", is(Speech::One, "::1", 80, "", "[::1]")),
            (
                "h2c://h:50051/x",
                is(Speech::Two, "h", 50051, "/x", "h:50051"),
            ),
            (" http://h:1 ", is(Speech::One, "h", 1, "", "h:1")),
            ("ftp://h:1", None),
            ("h:3100", None),
            ("", None),
            ("http://", None),
            ("http://u:p@h:1", None),
            ("http://h:1?x=1", None),
            ("http://h:0", None),
            ("http://h:99999", None),
            ("/path", None),
        ] {
            assert_eq!(read(text), place, "{text}");
        }
        let address = |text: &str| Place::read(text).unwrap().address();
        assert_eq!(address("http://[::1]:7"), "[::1]:7".parse().ok());
        assert_eq!(address("http://localhost:7"), None);
    }
}
