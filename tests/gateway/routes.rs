//! What is asked for, and what arrives.

use serde_json::json;

use crate::backend::{Backend, text};
use crate::common::http::Http;
use crate::site::{Site, error};

#[test]
fn a_service_is_reached_by_name_and_by_id_and_sees_the_request_as_it_was_made() {
    let backend = Backend::with(|seen| {
        let mut answer = text(201, format!("{} {}", seen.method, seen.target));
        let headers = answer.headers_mut();
        headers.insert("x-mine", "1".parse().unwrap());
        headers.insert("x-skyclaw-token", "theirs".parse().unwrap());
        headers.insert("connection", "keep-alive, x-hop".parse().unwrap());
        headers.insert("x-hop", "1".parse().unwrap());
        answer
    });
    let site = Site::new();
    let id = site.service("api", &[&backend.url()]);
    let gateway = site.gateway(&[]);
    let health = gateway.get("/health").expect(200).json();
    assert_eq!(health, json!({"ok": true, "services": ["api", id]}));
    let mut http = gateway.connect().with("x-skyclaw-token", "geheim");
    let reply = http.send("PUT", "/v1/gateway/api/a%2Fb//c?d=e%20f&g", b"body");
    let reply = reply.unwrap().expect(201);
    assert_eq!(reply.body, b"PUT /a%2Fb//c?d=e%20f&g");
    assert_eq!(reply.header("x-mine"), Some("1"));
    assert_eq!(reply.header("x-skyclaw-token"), None);
    assert_eq!(reply.header("x-hop"), None);
    let request_id = reply.header("x-request-id").unwrap().to_owned();
    // On the same connection.
    let again = http.send("GET", &format!("/v1/gateway/{id}"), b"").unwrap();
    assert_eq!(again.expect(201).body, b"GET /");
    let seen = &backend.seen()[0];
    assert_eq!(seen.body, b"body");
    assert_eq!(
        seen.header("host"),
        Some(backend.address.to_string().as_str())
    );
    assert_eq!(seen.header("x-skyclaw-token"), None);
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("x"));
    assert_eq!(seen.header("x-request-id"), Some(request_id.as_str()));
    // A prefix of the endpoint stays in front.
    site.service("deep", &[&format!("{}/base/", backend.url())]);
    gateway.until_it_knows(&["api", "deep", &id, &gateway_id(&site, "deep")]);
    let reply = gateway.get("/v1/gateway/deep/x?y").expect(201);
    assert_eq!(reply.body, b"GET /base/x?y");
}

fn gateway_id(site: &Site, name: &str) -> String {
    let all = site.coordinator.get("/v1/services");
    let services = all["services"].as_array().unwrap();
    let found = services.iter().find(|one| one["name"] == name).unwrap();
    found["id"].as_str().unwrap().to_owned()
}

#[test]
fn only_a_trusted_proxy_says_where_a_request_comes_from() {
    let backend = Backend::named("api");
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    for (trusted, chain, scheme) in [
        ("10.0.0.0/8", "127.0.0.1", "http"),
        ("127.0.0.0/8,::1", "9.9.9.9, 127.0.0.1", "https"),
    ] {
        let gateway = site.gateway(&["--trusted-proxies", trusted]);
        let http = gateway.connect().with("x-forwarded-for", "9.9.9.9");
        let mut http = http.with("x-forwarded-proto", "https");
        http.send("GET", "/v1/gateway/api/", b"")
            .unwrap()
            .expect(200);
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.header("x-forwarded-for"), Some(chain));
        assert_eq!(seen.header("x-forwarded-proto"), Some(scheme));
    }
}

#[test]
fn what_goes_nowhere_is_answered_as_the_original_does() {
    let backend = Backend::named("api");
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    site.service("dead", &["http://127.0.0.1:1", "http://127.0.0.1:2"]);
    site.service("none", &[]);
    let gateway = site.gateway(&[]);
    for name in ["none", "unknown", "my%20api"] {
        let reply = gateway.get(&format!("/v1/gateway/{name}/x")).expect(503);
        let shown = name.replace("%20", " ");
        let text = format!("no healthy endpoints for service {shown}");
        assert_eq!(error(&reply), text);
    }
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/v1/gateway/"),
        ("GET", "//v1/gateway/api/x"),
        ("POST", "/health"),
        ("DELETE", "/metrics"),
        ("POST", "/v1/gateways"),
    ] {
        let reply = gateway.send(method, path, b"").expect(404);
        assert_eq!(error(&reply), "not found", "{method} {path}");
    }
    for path in [
        "/v1/gateway/api/../x",
        "/v1/gateway/api/%2e%2e/x",
        "/v1/gateway/%ff/x",
    ] {
        let reply = gateway.get(path).expect(400);
        assert!(!error(&reply).is_empty());
    }
    assert!(backend.seen().is_empty());
    let dead = gateway.get("/v1/gateway/dead/x").expect(502);
    assert!(error(&dead).contains("service dead"), "{dead}");
}

#[test]
fn a_callers_mistakes_never_take_an_endpoint_out_of_rotation() {
    let backend = Backend::with(|seen| text(200, format!("{} bytes", seen.body.len())));
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let gateway = site.gateway(&["--max-body", "1000"]);
    for _ in 0..5 {
        let reply = gateway
            .send("GET", "/v1/gateway/api/x", b"a body")
            .expect(200);
        assert_eq!(reply.body, b"6 bytes");
        let head =
            "POST /v1/gateway/api/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut http = gateway.connect();
        http.raw(head.as_bytes()).unwrap();
        http.raw(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n").unwrap();
        assert_eq!(http.reply().unwrap().expect(200).body, b"7 bytes");
        // Half a body, and then nobody.
        let mut http = gateway.connect();
        http.raw(head.as_bytes()).unwrap();
        http.raw(b"3\r\nab").unwrap();
        drop(http);
        // No chunks at all.
        let mut http = gateway.connect();
        http.raw(head.as_bytes()).unwrap();
        http.raw(b"rubbish\r\n").unwrap();
        let _ = http.reply();
        for reply in [
            gateway.send("POST", "/v1/gateway/api/x", &[b'a'; 1001]),
            chunked(&mut gateway.connect(), head, 1001),
        ] {
            let reply = reply.expect(413);
            assert_eq!(error(&reply), "the body is longer than 1000 bytes");
        }
    }
    let up = format!(
        "endpoint_up{{service=\"api\",id=\"{}\"",
        gateway_id(&site, "api")
    );
    let metrics = gateway.text("/metrics");
    let up = metrics.lines().find(|line| line.contains(&up)).unwrap();
    assert!(up.ends_with(" 1"), "{up}");
    let failures = "skyclaw_gateway_endpoint_failures_total{";
    let failures = metrics
        .lines()
        .find(|line| line.starts_with(failures))
        .unwrap();
    assert!(failures.ends_with(" 0"), "{failures}");
}

fn chunked(http: &mut Http, head: &str, length: usize) -> crate::common::http::Reply {
    http.raw(head.as_bytes()).unwrap();
    let body = "a".repeat(length);
    http.raw(format!("{length:x}\r\n{body}\r\n0\r\n\r\n").as_bytes())
        .unwrap();
    http.reply().unwrap()
}

#[test]
fn requests_that_two_programs_might_read_differently_are_refused() {
    let backend = Backend::named("api");
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let gateway = site.gateway(&[]);
    for head in [
        "GET /v1/gateway/api/ HTTP/1.1\r\n\r\n",
        "GET /v1/gateway/api/ HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "POST /v1/gateway/api/ HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "POST /v1/gateway/api/ HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, x\r\n\r\n0\r\n\r\n",
    ] {
        let mut http = gateway.connect();
        http.raw(head.as_bytes()).unwrap();
        assert_eq!(http.reply().unwrap().status, 400, "{head}");
    }
    assert!(backend.seen().is_empty());
    let mut http = gateway.connect();
    http.raw(b"GET /v1/gateway/api/ HTTP/1.0\r\n\r\n").unwrap();
    http.reply().unwrap().expect(200);
}
