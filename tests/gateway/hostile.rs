//! Requests that two programs could read differently, and callers that mean no good.

use crate::raw::{Caller, Raw, ok};
use crate::site::{Gateway, Site};

fn setting(args: &[&str]) -> (Raw, Site, Gateway) {
    // Shows what arrived.
    let backend = Raw::new(|talk| {
        let mut shown = talk.head.clone();
        if shown.contains("content-length: 3") {
            shown.push_str(&String::from_utf8(talk.bytes(3)).unwrap());
        } else if shown.contains("transfer-encoding") {
            while !shown.ends_with("0\r\n\r\n") {
                let line = talk.line();
                if line.is_empty() {
                    return false;
                }
                shown.push_str(&line);
            }
        }
        talk.say(ok(&shown))
    });
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let gateway = site.gateway(args);
    (backend, site, gateway)
}

/// Sends these bytes and tells the status and everything that came until the end.
fn answer(gateway: &Gateway, bytes: &[u8]) -> (u16, String) {
    let mut caller = Caller::to(gateway.address);
    caller.say(bytes);
    let all = caller.rest();
    let status = all.get(9..12).and_then(|code| code.parse().ok());
    (status.unwrap_or(0), all)
}

#[test]
fn what_is_ambiguous_goes_no_further() {
    let (backend, _site, gateway) = setting(&[]);
    for (what, rest) in [
        (
            "two lengths",
            "host: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        ),
        (
            "a list of lengths",
            "host: x\r\ncontent-length: 3, 3\r\n\r\nabc",
        ),
        (
            "a signed length",
            "host: x\r\ncontent-length: +3\r\n\r\nabc",
        ),
        (
            "a length in hex",
            "host: x\r\ncontent-length: 0x3\r\n\r\nabc",
        ),
        (
            "another encoding",
            "host: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "stacked encodings",
            "host: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "two encodings",
            "host: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "a space before the colon",
            "host: x\r\ncontent-length : 3\r\n\r\nabc",
        ),
        ("a folded line", "host: x\r\na: b\r\n c: d\r\n\r\n"),
        ("a carriage return in a value", "host: x\r\na: b\rc\r\n\r\n"),
        ("a zero byte in a value", "host: x\r\na: b\0c\r\n\r\n"),
        ("a zero byte in a name", "host: x\r\na\0: b\r\n\r\n"),
        (
            "a length and an encoding",
            "host: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "an encoding and a length",
            "host: x\r\nTRANSFER-ENCODING:chunked\r\nContent-Length:5\r\n\r\n0\r\n\r\n",
        ),
        (
            "a line without a carriage return",
            "host: x\r\na: b\nc: d\r\n\r\n",
        ),
        ("a head that ends without one", "host: x\r\na: b\r\n\n"),
        (
            "one encoding named twice",
            "host: x\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        ),
        ("two hosts", "host: x\r\nhost: y\r\n\r\n"),
        ("no host", "a: b\r\n\r\n"),
        (
            "a chunk without a size",
            "host: x\r\ntransfer-encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
        ),
        (
            "a chunk with a signed size",
            "host: x\r\ntransfer-encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            "a chunk that is longer than said",
            "host: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        ),
        (
            "a size that no number holds",
            "host: x\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        ),
    ] {
        let (status, all) = answer(
            &gateway,
            format!("POST /v1/gateway/api/ HTTP/1.1\r\n{rest}").as_bytes(),
        );
        assert_eq!(status, 400, "{what}: {all}");
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{what}: {all}");
    }
    let old =
        b"POST /v1/gateway/api/ HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(answer(&gateway, old).0, 400);
    for line in [
        "TRACE /v1/gateway/api/ HTTP/1.1",
        "CONNECT other:443 HTTP/1.1",
    ] {
        let (status, _) = answer(
            &gateway,
            format!("{line}\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
        );
        assert!(matches!(status, 400 | 405), "{line}: {status}");
    }
    // Nothing of all that is left on a connection to the service.
    let proper = b"GET /v1/gateway/api/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    for _ in 0..4 {
        let (status, all) = answer(&gateway, proper);
        assert_eq!(
            (status, all.matches("GET / HTTP/1.1").count()),
            (200, 1),
            "{all}"
        );
    }
    assert!(backend.served() >= 4);
}

#[test]
fn what_is_let_through_arrives_in_one_form() {
    let (_backend, _site, gateway) = setting(&[]);
    let shown = |bytes: &str| {
        let (status, all) = answer(&gateway, bytes.as_bytes());
        assert_eq!(status, 200, "{all}");
        all.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    let equal = shown(
        "POST /v1/gateway/api/ HTTP/1.1\r\nhost: x\r\nconnection: close, content-length\r\ncontent-length: 3\r\n\r\nabc",
    );
    assert!(
        equal.contains("content-length: 3\r\n") && equal.ends_with("\r\n\r\nabc"),
        "{equal}"
    );
    let chunks = shown(
        "POST /v1/gateway/api/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: CHUNKED\r\n\r\n\
         3;extension=1\r\nabc\r\n0\r\n\r\n",
    );
    assert!(!chunks.contains("extension"), "{chunks}");
    let absolute = shown(
        "GET http://named.example/v1/gateway/api/a?b HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n",
    );
    assert!(absolute.starts_with("GET /a?b HTTP/1.1\r\n"), "{absolute}");
    assert!(
        absolute.contains("x-forwarded-host: named.example\r\n"),
        "{absolute}"
    );
}

#[test]
fn what_is_ambiguous_is_refused_wherever_it_stands_on_a_connection_and_bodies_are_left_alone() {
    let (backend, _site, gateway) = setting(&[]);
    let post = "POST /v1/gateway/api/ HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\na\nb";
    let both = "POST /v1/gateway/api/smuggles HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\
                transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/gateway/api/smuggled HTTP/1.1\r\n\r\n";
    let (status, all) = answer(&gateway, format!("{post}{post}{both}").as_bytes());
    assert_eq!(
        (status, all.matches("HTTP/1.1 200 ").count()),
        (200, 2),
        "{all}"
    );
    assert_eq!(all.matches("HTTP/1.1 400 ").count(), 1, "{all}");
    assert!(
        !all.contains("smuggle") && all.contains("\r\n\r\na\nb"),
        "{all}"
    );
    // In pieces, as slow networks have it.
    let mut caller = Caller::to(gateway.address);
    for byte in both.as_bytes().chunks(1).take(110) {
        if std::io::Write::write_all(caller.0.get_mut(), byte).is_err() {
            break;
        }
    }
    assert!(caller.rest().starts_with("HTTP/1.1 400 "));
    assert_eq!(backend.served(), 2);
}

#[test]
fn a_request_names_one_host_and_is_no_way_to_another() {
    let (backend, site, gateway) = setting(&["--access-log", "access"]);
    let here = "/v1/gateway/api/";
    for (line, hosts) in [
        (format!("GET {here} HTTP/1.1"), "host: user:word@a\r\n"),
        (format!("GET {here} HTTP/1.1"), "host: a/../b\r\n"),
        (format!("GET {here} HTTP/1.1"), "host: a b\r\n"),
        (format!("GET {here} HTTP/1.1"), "host: a, b\r\n"),
        (format!("GET {here} HTTP/1.1"), "host: a\"><script>\r\n"),
        (
            format!("GET http://user:word@a{here} HTTP/1.1"),
            "host: a\r\n",
        ),
        (
            format!("GET http://a{here} HTTP/1.1"),
            "host: a\r\nhost: b\r\n",
        ),
        (format!("CONNECT {here} HTTP/1.1"), "host: a\r\n"),
        (format!("GET {here}..;/x HTTP/1.1"), "host: a\r\n"),
    ] {
        let request = format!("{line}\r\n{hosts}connection: close\r\n\r\n");
        let (status, all) = answer(&gateway, request.as_bytes());
        assert_eq!(status, 400, "{line} {hosts}: {all}");
    }
    assert_eq!(backend.served(), 0);
    for host in ["a", "a_b.example:80", "[::1]:8790", ""] {
        let request = format!("GET {here} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let (status, all) = answer(&gateway, request.as_bytes());
        assert_eq!(status, 200, "{host}: {all}");
        assert!(
            all.contains(&format!("x-forwarded-host: {host}\r\n")),
            "{all}"
        );
    }
    // What was refused is written down as well.
    crate::common::eventually(crate::common::SOON, || {
        let log = std::fs::read_to_string(site.dir.path().join("access")).unwrap();
        log.matches(r#""status":400,"#).count() == 9 && log.lines().count() == 13
    });
}

#[test]
fn heads_have_an_end() {
    let (backend, _site, gateway) = setting(&[]);
    let long = format!(
        "GET /v1/gateway/api/ HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n",
        "b".repeat(70 << 10)
    );
    assert_eq!(answer(&gateway, long.as_bytes()).0, 431);
    let many = format!(
        "GET /v1/gateway/api/ HTTP/1.1\r\nhost: x\r\n{}\r\n",
        "a: b\r\n".repeat(101)
    );
    assert_eq!(answer(&gateway, many.as_bytes()).0, 431);
    let path = format!(
        "GET /v1/gateway/api/{} HTTP/1.1\r\nhost: x\r\n\r\n",
        "b".repeat(70 << 10)
    );
    let (status, _) = answer(&gateway, path.as_bytes());
    assert!(matches!(status, 414 | 431), "{status}");
    assert_eq!(backend.served(), 0);
}

#[test]
fn more_connections_than_allowed_are_closed_at_once() {
    let (_backend, _site, gateway) = setting(&["--max-connections", "2"]);
    let get = "GET /v1/gateway/api/ HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut open: Vec<Caller> = (0..2).map(|_| Caller::to(gateway.address)).collect();
    for one in &mut open {
        one.say(get);
        one.until("\r\n\r\n");
    }
    assert_eq!(Caller::to(gateway.address).rest(), "");
    open.clear();
    crate::common::eventually(crate::common::SOON, || {
        let mut caller = Caller::to(gateway.address);
        let _ = std::io::Write::write_all(caller.0.get_mut(), b"GET /health HTTP/1.0\r\n\r\n");
        caller.rest().starts_with("HTTP/1.0 200")
    });
}

#[test]
fn what_is_no_request_is_counted_and_written_down() {
    let (_backend, site, gateway) = setting(&["--access-log", "access"]);
    let many = format!(
        "GET / HTTP/1.1\r\nhost: x\r\n{}\r\n",
        "a: b\r\n".repeat(101)
    );
    for (bytes, status) in [
        ("NO REQUEST\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\na b: c\r\n\r\n", 400),
        (many.as_str(), 431),
    ] {
        assert_eq!(answer(&gateway, bytes.as_bytes()).0, status, "{bytes}");
    }
    crate::common::eventually(crate::common::SOON, || {
        let log = std::fs::read_to_string(site.dir.path().join("access")).unwrap();
        let count = |status: &str| log.matches(status).count();
        count(r#""status":400,"#) == 2 && count(r#""status":431,"#) == 1
    });
    let numbers = gateway.text("/metrics");
    let counted = numbers.lines().any(|line| {
        line.starts_with("skyclaw_gateway_requests_total{")
            && line.contains("4xx")
            && line.ends_with(" 3")
    });
    assert!(counted, "{numbers}");
}
