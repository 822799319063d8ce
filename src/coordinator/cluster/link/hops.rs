//! Headers that speak of one connection end there.

use axum::http::header::{self, HeaderMap, HeaderName};

use super::marks::{AS, SEAL};

/// Those that do, whatever `connection` says.
static HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    // The framing of this connection; the body itself is passed on.
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Takes out what speaks of one connection only, and what only members may say.
pub fn end(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // It says where a body ends, so it belongs to the message.
        .filter(|name| *name != header::CONTENT_LENGTH)
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named).chain(&[AS, SEAL]) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_of_one_connection_ends_and_the_rest_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private , content-length"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("x-private", "1"),
            ("x-skyclaw-as", "owner"),
            ("x-skyclaw-link", "1.00"),
            ("x-skyclaw-token", "t"),
            ("content-length", "3"),
            ("accept", "text/event-stream"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        end(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "x-skyclaw-token"]);
    }
}
