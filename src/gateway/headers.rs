//! What becomes of headers on their way through: pure functions over a request's and an answer's headers.
//!
//! Those that speak of one connection end here, in both directions. `x-skyclaw-…` never crosses: a caller could
//! pretend to be a host or a coordinator, a service could give away what it knows of them. Only the count of gateways
//! goes on, made anew.

use std::cell::RefCell;
use std::net::IpAddr;

use bytes::Bytes;
use hyper::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};

/// Speaks of one connection only, whatever `connection` says.
static HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// Means something to us alone.
const OURS: &str = "x-skyclaw-";
/// What a caller may say of where it comes from only if it is trusted.
const ORIGIN: [&str; 3] = ["forwarded", "x-real-ip", "x-client-ip"];
const FORWARDED: &str = "x-forwarded-";
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// How many gateways a request has come through; for the next one, should an endpoint be one.
const HOPS: HeaderName = HeaderName::from_static("x-skyclaw-hops");
/// Names a request in all logs it leaves traces in.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long the id of a request that its caller gave may be.
const LONGEST_ID: usize = 128;

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'o> {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Whether what it says of others is believed.
    pub trusted: bool,
    /// Whether it came over TLS.
    pub tls: bool,
    /// Names the request.
    pub id: &'o HeaderValue,
    /// How many gateways it came through before.
    pub hops: u32,
}

/// Changes the headers of a caller's request to those that a backend may see. `host` is left to whoever knows which
/// backend it is, `upgrade` to whoever tunnels: it and `connection` are gone afterwards.
pub fn to_backend(headers: &mut HeaderMap, origin: &Origin<'_>) {
    let takes_trailers = says(headers, &header::TE, "trailers");
    end_hops(headers);
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if !origin.trusted {
        remove(headers, |name| {
            let name = name.as_str();
            name.starts_with(FORWARDED) || ORIGIN.contains(&name)
        });
    }
    append_peer(headers, origin.peer);
    if let Entry::Vacant(place) = headers.entry(PROTO) {
        let scheme = if origin.tls { "https" } else { "http" };
        place.insert(HeaderValue::from_static(scheme));
    }
    if !headers.contains_key(HOST)
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(HOST, host);
    }
    headers.insert(REQUEST_ID, origin.id.clone());
    let hops = match origin.hops {
        0 => HeaderValue::from_static("1"),
        more => HeaderValue::from(more.saturating_add(1)),
    };
    headers.insert(HOPS, hops);
}

/// Returns how many gateways a request came through before.
pub fn hops(headers: &HeaderMap) -> u32 {
    let said = headers.get(HOPS).and_then(|hops| hops.to_str().ok());
    said.and_then(|hops| hops.parse().ok()).unwrap_or(0)
}

/// Changes the headers of a backend's answer to those that a caller may see.
pub fn to_caller(headers: &mut HeaderMap, id: &HeaderValue) {
    end_hops(headers);
    headers.insert(REQUEST_ID, id.clone());
}

/// Tells whether the sender wants to speak another protocol on this connection from here on.
pub fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE) && says(headers, &header::CONNECTION, "upgrade")
}

/// Returns the id that the caller gave its request, if it is one.
pub fn given_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    let fits = !id.is_empty() && id.len() <= LONGEST_ID && id.as_bytes().iter().all(plain);
    fits.then(|| id.clone())
}

/// Removes what speaks of one connection, and ours.
fn end_hops(headers: &mut HeaderMap) {
    while let Some(named) = named_by_connection(headers) {
        headers.remove(named);
    }
    remove(headers, |name| {
        HOP_BY_HOP.contains(name) || name.as_str().starts_with(OURS)
    });
}

/// Returns a header that is there and that `connection` says is for this connection only.
fn named_by_connection(headers: &HeaderMap) -> Option<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        // How long the body is, and whose request this is, is not the sender's to take away.
        .filter(|name| {
            !matches!(
                *name,
                header::CONTENT_LENGTH
                    | header::TRANSFER_ENCODING
                    | header::HOST
                    | header::CONNECTION
            )
        })
        .find(|name| headers.contains_key(name))
}

/// Tells whether a list in this header has this word.
fn says(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    headers.get_all(name).iter().any(|line| {
        let mut words = line.as_bytes().split(|byte| *byte == b',' || *byte == b';');
        words.any(|one| one.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    })
}

fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    // Nearly always there is none or one, and looking allocates nothing.
    while let Some(name) = headers.keys().find(|name| unwanted(name)).cloned() {
        headers.remove(name);
    }
}

fn append_peer(headers: &mut HeaderMap, peer: IpAddr) {
    let shown = shown(peer);
    let mut chain = Vec::new();
    for line in headers.get_all(FOR) {
        chain.extend_from_slice(line.as_bytes());
        chain.extend_from_slice(b", ");
    }
    if chain.is_empty() {
        headers.insert(FOR, shown);
        return;
    }
    chain.extend_from_slice(shown.as_bytes());
    if let Ok(chain) = HeaderValue::from_maybe_shared(Bytes::from(chain)) {
        headers.insert(FOR, chain);
    }
}

/// Returns an address as it is written. The one before is nearly always the same, so it is kept.
fn shown(peer: IpAddr) -> HeaderValue {
    thread_local! {
        static LAST: RefCell<Option<(IpAddr, HeaderValue)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((known, shown)) if *known == peer => shown.clone(),
        _ => {
            let shown = HeaderValue::try_from(peer.to_canonical().to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
            *last = Some((peer, shown.clone()));
            shown
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    fn backend_sees(pairs: &[(&'static str, &'static str)], trusted: bool) -> Vec<String> {
        let mut headers = headers(pairs);
        let id = HeaderValue::from_static("r1");
        let origin = Origin {
            peer: "10.0.0.1".parse().unwrap(),
            trusted,
            tls: false,
            hops: 0,
            id: &id,
        };
        to_backend(&mut headers, &origin);
        shown(&headers)
    }

    #[test]
    fn what_speaks_of_one_connection_ends_here() {
        let seen = backend_sees(
            &[
                ("host", "gate:8790"),
                ("connection", "close, X-Mine"),
                ("connection", "content-length,host, , keep-alive"),
                ("x-mine", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("proxy-authorization", "Basic eA=="),
                ("te", "gzip, trailers;q=0.5"),
                ("upgrade", "h2c"),
                ("content-length", "3"),
                ("accept-encoding", "gzip"),
                ("authorization", "Bearer theirs"),
                ("x-skyclaw-token", "geheim"),
                ("x-skyclaw-anything", "1"),
            ],
            false,
        );
        assert_eq!(
            seen,
            [
                "accept-encoding: gzip",
                "authorization: Bearer theirs",
                "content-length: 3",
                "host: gate:8790",
                "te: trailers",
                "x-forwarded-for: 10.0.0.1",
                "x-forwarded-host: gate:8790",
                "x-forwarded-proto: http",
                "x-request-id: r1",
                "x-skyclaw-hops: 1",
            ]
        );
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let said = [
            ("host", "h"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public"),
            ("x-forwarded-port", "443"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
        ];
        assert_eq!(
            backend_sees(&said, false),
            [
                "host: h",
                "x-forwarded-for: 10.0.0.1",
                "x-forwarded-host: h",
                "x-forwarded-proto: http",
                "x-request-id: r1",
                "x-skyclaw-hops: 1",
            ]
        );
        assert_eq!(
            backend_sees(&said, true),
            [
                "forwarded: for=1.1.1.1",
                "host: h",
                "x-forwarded-for: 1.1.1.1, 2.2.2.2, 10.0.0.1",
                "x-forwarded-host: public",
                "x-forwarded-port: 443",
                "x-forwarded-proto: https",
                "x-real-ip: 1.1.1.1",
                "x-request-id: r1",
                "x-skyclaw-hops: 1",
            ]
        );
    }

    #[test]
    fn answers_keep_their_encoding_and_lose_what_is_ours() {
        let mut answer = headers(&[
            ("content-encoding", "gzip"),
            ("content-length", "9"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "1"),
            ("x-skyclaw-token", "geheim"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("trailer", "x-sum"),
        ]);
        to_caller(&mut answer, &HeaderValue::from_static("r1"));
        assert_eq!(
            shown(&answer),
            [
                "content-encoding: gzip",
                "content-length: 9",
                "set-cookie: a=1",
                "set-cookie: b=2",
                "trailer: x-sum",
                "x-request-id: r1",
            ]
        );
    }

    #[test]
    fn an_upgrade_needs_both_words_and_an_id_must_be_plain() {
        let yes = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert!(wants_upgrade(&yes));
        assert!(!wants_upgrade(&headers(&[("upgrade", "websocket")])));
        assert!(!wants_upgrade(&headers(&[("connection", "upgrade")])));
        let id = |value| given_id(&headers(&[("x-request-id", value)]));
        assert_eq!(
            id("a-1.2_3:4/5"),
            Some(HeaderValue::from_static("a-1.2_3:4/5"))
        );
        for bad in ["", "a b", "a\"b", "{}"] {
            assert_eq!(id(bad), None, "{bad}");
        }
    }
}
