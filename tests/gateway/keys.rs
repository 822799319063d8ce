//! Who is let in, and what is written down of it.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::common::{SOON, eventually, procs};
use crate::site::{Site, command, error};

#[test]
fn keys_open_their_services_and_no_backend_sees_them() {
    let backend = Backend::named("ok");
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    site.service("other", &[&backend.url()]);
    let file = site.dir.path().join("keys");
    std::fs::write(&file, "# operators\nfile-key-9:ops:*\n").unwrap();
    let gateway = site.gateway_with(
        &["--api-keys-file", file.to_str().unwrap()],
        &[
            ("SKYCLAW_GATEWAY_API_KEYS", "ann-key-1:ann:api"),
            ("SKYCLAW_TOKEN", "cluster-token"),
        ],
    );
    let ask = |name: &str, value: &str, path: &str| {
        let mut http = gateway.connect().with(name, value);
        http.send("GET", path, b"").unwrap()
    };
    for (name, value) in [
        ("x", "y"),
        ("x-api-key", "ann-key"),
        ("authorization", "Basic ann-key-1"),
    ] {
        let reply = ask(name, value, "/v1/gateway/api/").expect(401);
        assert_eq!(error(&reply), "invalid api key");
    }
    ask("authorization", "Bearer ann-key-1", "/v1/gateway/api/").expect(200);
    ask("x-api-key", "ann-key-1", "/v1/gateway/api/").expect(200);
    let reply = ask("x-api-key", "ann-key-1", "/v1/gateway/other/").expect(403);
    assert_eq!(
        error(&reply),
        "service other is not allowed for this api key"
    );
    ask("x-api-key", "file-key-9", "/v1/gateway/other/").expect(200);
    for seen in backend.seen() {
        assert_eq!(
            (seen.header("authorization"), seen.header("x-api-key")),
            (None, None)
        );
    }
    let mut twice = gateway
        .connect()
        .with("x-api-key", "theirs")
        .with("x-api-key", "ann-key-1")
        .with("authorization", "Basic theirs")
        .with("authorization", "Bearer ann-key-1");
    let reply = twice.send("GET", "/v1/gateway/api/twice", b"").unwrap();
    reply.expect(200);
    let seen = backend.seen().pop().unwrap();
    let carried = seen
        .headers
        .iter()
        .any(|(_, value)| value.contains("ann-key-1"));
    assert!(!carried, "{:?}", seen.headers);
    let both = |value: &'static str| {
        let mut http = gateway
            .connect()
            .with("authorization", value)
            .with("x-api-key", "file-key-9");
        http.send("GET", "/v1/gateway/api/theirs", b"")
            .unwrap()
            .expect(200);
    };
    both("Bearer of the service");
    let theirs = backend.seen().pop().unwrap();
    assert_eq!(
        theirs.header("authorization"),
        Some("Bearer of the service")
    );
    // Own routes: what there is is told to those who may call it, numbers to those with the token.
    assert_eq!(
        gateway.get("/health").expect(200).json()["services"],
        json!([])
    );
    let shown = ask("x-api-key", "ann-key-1", "/health").json();
    assert_eq!(shown["services"][0], "api");
    gateway.get("/metrics").expect(401);
    gateway.get("/v1/gateways").expect(401);
    ask("x-api-key", "ann-key-1", "/v1/gateways").expect(200);
    ask("x-skyclaw-token", "cluster-token", "/metrics").expect(200);
    // Nobody who looks at processes sees a secret.
    let pid = i32::try_from(gateway.pid()).unwrap();
    let of_it = procs::all_processes()
        .into_iter()
        .find(|one| one.pid == pid)
        .unwrap();
    for secret in ["ann-key-1", "file-key-9", "cluster-token"] {
        assert!(!of_it.contains(secret), "{secret}");
    }
}

#[test]
fn without_keys_only_this_machine_is_let_in() {
    let site = Site::new();
    let refused = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = command(site.dir.path(), &site.coordinator.url());
        let ran = command
            .args(args)
            .envs(env.iter().copied())
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        String::from_utf8(ran.stderr).unwrap()
    };
    let text = refused(&["--host", "0.0.0.0"], &[]);
    assert!(
        text.contains("without API keys") && text.contains("--insecure-no-auth"),
        "{text}"
    );
    let text = refused(&[], &[("SKYCLAW_GATEWAY_API_KEYS", "geh eim:a")]);
    assert!(
        text.contains("gateway key") && !text.contains("geh"),
        "{text}"
    );
    let empty = site.dir.path().join("empty");
    std::fs::write(&empty, "# none\n").unwrap();
    let text = refused(&["--api-keys-file", empty.to_str().unwrap()], &[]);
    assert!(text.contains("no API key"), "{text}");
    for bad in [
        ["--lb", "random"],
        ["--sticky", "ip"],
        ["--trusted-proxies", "x"],
    ] {
        refused(&bad, &[]);
    }
    let taken = site.gateway(&[]).address.port().to_string();
    let gateway = site.gateway(&["--host", "0.0.0.0", "--insecure-no-auth"]);
    gateway.get("/metrics").expect(200);
    let port = gateway.address.port().to_string();
    let mut second = command(site.dir.path(), &site.coordinator.url());
    let ran = second.args(["--port", &port]).output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(
        String::from_utf8_lossy(&ran.stderr).contains("in use"),
        "{ran:?}"
    );
    drop(taken);
}

#[test]
fn each_request_is_counted_and_written_down_without_its_secrets() {
    let backend = Backend::named("four");
    let site = Site::new();
    let id = site.service("api", &[&backend.url()]);
    let log = site.dir.path().join("access.log");
    let gateway = site.gateway_with(
        &["--access-log", log.to_str().unwrap(), "--metrics-open"],
        &[("SKYCLAW_GATEWAY_API_KEYS", "ann-key-1:ann")],
    );
    let mut http = gateway
        .connect()
        .with("x-api-key", "ann-key-1")
        .with("x-request-id", "r-1");
    http.send("POST", "/v1/gateway/api/a?token=geheim", b"123")
        .unwrap()
        .expect(200);
    let written = || std::fs::read_to_string(&log).unwrap();
    eventually(SOON, || written().contains("/v1/gateway/api/a"));
    let text = written();
    assert!(
        !text.contains("geheim") && !text.contains("ann-key-1"),
        "{text}"
    );
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    for (name, value) in [
        ("request", json!("r-1")),
        ("client", json!("127.0.0.1")),
        ("key", json!("ann")),
        ("method", json!("POST")),
        ("path", json!("/v1/gateway/api/a")),
        ("service", json!("api")),
        ("endpoint", json!(backend.url())),
        ("status", json!(200)),
        ("received", json!(3)),
        ("sent", json!(4)),
    ] {
        assert_eq!(line[name], value, "{name} in {line}");
    }
    let service = format!("service=\"api\",id=\"{id}\"");
    gateway.until_counted(&format!(
        "skyclaw_gateway_requests_total{{{service},status=\"2xx\"}} 1"
    ));
    gateway.until_counted(&format!(
        "skyclaw_gateway_received_bytes_total{{{service}}} 3"
    ));
    gateway.until_counted(&format!("skyclaw_gateway_sent_bytes_total{{{service}}} 4"));
    gateway.until_counted(&format!(
        "skyclaw_gateway_request_duration_seconds_count{{{service}}} 1"
    ));
}
