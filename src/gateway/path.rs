//! What a request's target asks for. Pure.
//!
//! Behind the service's name everything is passed on as it was written: what is encoded stays encoded, empty
//! segments stay. Only a path that climbs up (`..`, encoded or not) is refused, because programs disagree on
//! where it leads.

use std::borrow::Cow;

use hyper::Uri;

/// What begins the path of every request to a service.
const SERVICES: &str = "/v1/gateway/";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'u> {
    /// Whether the gateway is well.
    Health,
    /// Its numbers.
    Metrics,
    /// The gateways it knows of.
    Gateways,
    /// Something of a service.
    Service {
        /// Its name or id, decoded.
        name: Cow<'u, str>,
        /// Path and query for it, beginning with `/` or `?`, as they were written.
        rest: &'u str,
        /// The part of the path that names the service, as it was written: `/v1/gateway/NAME`.
        base: &'u str,
    },
    /// Nothing that is there.
    Nothing,
    /// Something that cannot be answered, with the reason.
    Bad(&'static str),
}

/// Reads the target of a request.
pub fn read(uri: &Uri) -> Target<'_> {
    let Some(both) = uri.path_and_query() else {
        // `CONNECT host:port`
        return Target::Bad("the gateway is no tunnel to other hosts");
    };
    match both.path() {
        "/health" => return Target::Health,
        "/metrics" => return Target::Metrics,
        "/v1/gateways" => return Target::Gateways,
        _ => {}
    }
    let whole = both.as_str();
    let Some(behind) = both.path().strip_prefix(SERVICES) else {
        return Target::Nothing;
    };
    let end = behind.find('/').unwrap_or(behind.len());
    let (written, path) = behind.split_at(end);
    if written.is_empty() {
        return Target::Nothing;
    }
    if climbs(written) || climbs(path) {
        return Target::Bad("the path must not contain `..` segments");
    }
    let Some(name) = decoded(written) else {
        return Target::Bad("the service's name is not percent-encoded UTF-8");
    };
    let (base, rest) = whole.split_at(SERVICES.len() + end);
    Target::Service { name, rest, base }
}

/// Returns path and query for a backend whose paths begin with `prefix`.
pub fn behind(prefix: &str, rest: &str) -> String {
    let slash = if rest.starts_with('/') { "" } else { "/" };
    [prefix, slash, rest].concat()
}

/// Decodes `%XX`; `None` if it is malformed or no text.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Tells whether a segment is `..`, also when dots or separators are encoded.
fn climbs(path: &str) -> bool {
    // Dots in the segment so far; none once it holds something else.
    let mut dots = Some(0_u8);
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let rest = bytes.clone();
                let mut pair = rest.map_while(hex).take(2);
                match (pair.next(), pair.next()) {
                    (Some(high), Some(low)) => {
                        bytes.nth(1);
                        high << 4 | low
                    }
                    (_, _) => b'%',
                }
            }
            byte => byte,
        };
        dots = match (byte, dots) {
            // Some servers cut what stands behind `;` or a zero byte off before they look at the dots.
            (b'/' | b'\\' | b';' | 0, Some(2)) => return true,
            (b'/' | b'\\', _) => Some(0),
            (b'.', Some(dots)) if dots < 2 => Some(dots + 1),
            (_, _) => None,
        };
    }
    dots == Some(2)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(uri: &str) -> (String, String) {
        let uri: Uri = uri.parse().unwrap();
        match read(&uri) {
            Target::Service { name, rest, base } => {
                assert!(uri.to_string().ends_with(&format!("{base}{rest}")));
                (name.into_owned(), behind("/p", rest))
            }
            other => panic!("{uri}: {other:?}"),
        }
    }

    #[test]
    fn the_name_is_decoded_and_the_rest_is_not_touched() {
        for (uri, name, path) in [
            ("/v1/gateway/api/users?page=2", "api", "/p/users?page=2"),
            ("/v1/gateway/api", "api", "/p/"),
            ("/v1/gateway/api?x=../y", "api", "/p/?x=../y"),
            ("/v1/gateway/api/", "api", "/p/"),
            ("/v1/gateway/api//x///", "api", "/p//x///"),
            ("/v1/gateway/my%20api/a%2Fb%zz", "my api", "/p/a%2Fb%zz"),
            ("/v1/gateway/%C3%A9/x", "é", "/p/x"),
            ("/v1/gateway/a%2fb/x", "a/b", "/p/x"),
            ("/v1/gateway/api/./x", "api", "/p/./x"),
            ("/v1/gateway/api/...", "api", "/p/..."),
            ("/v1/gateway/api/x;../.;y", "api", "/p/x;../.;y"),
            ("/v1/gateway/api/..x/x..", "api", "/p/..x/x.."),
            ("/v1/gateway/api/%252e%252e/x", "api", "/p/%252e%252e/x"),
            ("http://other:1/v1/gateway/api/x", "api", "/p/x"),
        ] {
            assert_eq!(service(uri), (name.to_owned(), path.to_owned()), "{uri}");
        }
    }

    #[test]
    fn what_climbs_up_or_is_no_text_is_refused() {
        for uri in [
            "/v1/gateway/api/..",
            "/v1/gateway/api/../x",
            "/v1/gateway/api/a/../x?q",
            "/v1/gateway/api/%2e%2e/x",
            "/v1/gateway/api/.%2E",
            "/v1/gateway/api/a%2f..%2fx",
            "/v1/gateway/api/a\\..\\x",
            "/v1/gateway/api/a%5c%2e./x",
            "/v1/gateway/api/..;/x",
            "/v1/gateway/api/a/..%3bb/x",
            "/v1/gateway/api/..%00/x",
            "/v1/gateway/../x",
            "/v1/gateway/%2e%2e",
            "/v1/gateway/%zz/x",
            "/v1/gateway/%c3/x",
            "/v1/gateway/a%2/x",
        ] {
            // What the parser of targets itself refuses never comes this far.
            if let Ok(uri) = uri.parse::<Uri>() {
                assert!(matches!(read(&uri), Target::Bad(_)), "{uri}");
            }
        }
        let connect: Uri = "host:443".parse().unwrap();
        assert!(matches!(read(&connect), Target::Bad(_)));
    }

    #[test]
    fn own_routes_are_exact_and_everything_else_is_nothing() {
        let of = |uri: &'static str| read(Box::leak(Box::new(uri.parse().unwrap())));
        assert_eq!(of("/health?x=1"), Target::Health);
        assert_eq!(of("/metrics"), Target::Metrics);
        assert_eq!(of("/v1/gateways"), Target::Gateways);
        for uri in [
            "/",
            "*",
            "/health/",
            "/v1/gateway",
            "/v1/gateway/",
            "/v1/gateway//x",
            "//v1/gateway/api/x",
            "/V1/gateway/api",
            "/v1/gatewayx/api",
            "/v1/services",
            "/v1/./gateway/api/x",
        ] {
            assert_eq!(of(uri), Target::Nothing, "{uri}");
        }
    }
}
