//! `skyclaw call` and the library's client, through several gateways.

use std::process::{Command, Output, Stdio};

use crate::backend::{Backend, text};
use crate::site::{Gateway, Site};

fn call(site: &Site, args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skyclaw"))
        .env_clear()
        .env("HOME", site.dir.path())
        .envs(env.iter().copied())
        .current_dir(site.dir.path())
        .arg("call")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Two gateways that are not there, and one that is.
fn urls(gateway: &Gateway) -> String {
    format!("http://127.0.0.1:1,http://127.0.0.1:2,{}", gateway.url())
}

#[test]
fn a_call_goes_to_the_gateway_that_is_there() {
    let backend = Backend::with(|seen| match seen.target.as_str() {
        "/missing" => text(404, "nothing here"),
        target => text(
            200,
            format!(
                "{} {target} {}",
                seen.method,
                String::from_utf8_lossy(&seen.body)
            ),
        ),
    });
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let gateway = site.gateway_with(&[], &[("SKYCLAW_GATEWAY_API_KEYS", "ann-key-1:ann")]);
    let urls = urls(&gateway);
    let key = ("SKYCLAW_GATEWAY_KEY", "ann-key-1");
    let ran = call(&site, &[&urls, "api/a?b=c"], &[key]);
    assert_eq!(
        (ran.status.code(), ran.stdout.as_slice()),
        (Some(0), &b"GET /a?b=c "[..]),
        "{ran:?}"
    );
    // No gateway got it, so it may go to the next one whatever it is.
    let known = ("SKYCLAW_GATEWAY_URLS", urls.as_str());
    let ran = call(
        &site,
        &["api/new", "-d", "{\"a\":1}", "-H", "x-mine: 2"],
        &[key, known],
    );
    assert_eq!(ran.stdout, b"POST /new {\"a\":1}", "{ran:?}");
    let seen = backend.seen().pop().unwrap();
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("x-mine"), Some("2"));
    std::fs::write(site.dir.path().join("body"), b"\0\x01").unwrap();
    std::fs::write(
        site.dir.path().join("headers"),
        "authorization: Bearer theirs\n",
    )
    .unwrap();
    std::fs::write(site.dir.path().join("key"), "ann-key-1\n").unwrap();
    let args = [
        "api/x",
        "-X",
        "PUT",
        "-d",
        "@body",
        "-H",
        "@headers",
        "--key-file",
        "key",
        "-i",
    ];
    let ran = call(&site, &args, &[known]);
    let shown = String::from_utf8(ran.stdout).unwrap();
    assert!(shown.starts_with("HTTP/1.1 200 OK\n"), "{shown}");
    assert!(
        shown.contains("\nx-request-id: ") && shown.contains("\n\nPUT /x \0\x01"),
        "{shown}"
    );
    assert_eq!(
        backend.seen().pop().unwrap().header("authorization"),
        Some("Bearer theirs")
    );
    let ran = call(&site, &["api/missing"], &[key, known]);
    assert_eq!(
        (ran.status.code(), ran.stdout.as_slice()),
        (Some(1), &b"nothing here"[..]),
        "{ran:?}"
    );
    assert!(
        String::from_utf8_lossy(&ran.stderr).contains("404"),
        "{ran:?}"
    );
    let ran = call(&site, &["api/x"], &[known]);
    assert_eq!(ran.status.code(), Some(1), "no key: {ran:?}");
}

#[test]
fn what_may_be_repeated_leaves_a_gateway_in_trouble_and_nothing_else_does() {
    let backend = Backend::named("well");
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let gateway = site.gateway(&[]);
    let sick = Backend::with(|_| text(503, "sick"));
    let urls = format!("{},{}", sick.url(), gateway.url());
    let ran = call(&site, &[&urls, "api/"], &[]);
    assert_eq!(ran.stdout, b"well", "{ran:?}");
    let ran = call(&site, &[&urls, "api/", "-d", "x"], &[]);
    assert_eq!(
        (ran.status.code(), ran.stdout.as_slice()),
        (Some(1), &b"sick"[..]),
        "{ran:?}"
    );
    let ran = call(
        &site,
        &[&urls, "api/", "-d", "x", "-H", "idempotency-key: 1"],
        &[],
    );
    assert_eq!(ran.stdout, b"well", "{ran:?}");
    let twice = format!(
        "{},{}",
        sick.url(),
        sick.url().replace("127.0.0.1", "localhost")
    );
    let ran = call(&site, &[&twice, "api/"], &[]);
    assert_eq!(
        (ran.status.code(), ran.stdout.as_slice()),
        (Some(1), &b"sick"[..]),
        "{ran:?}"
    );
}

#[test]
fn without_a_gateway_it_says_so_and_usage_errors_ask_nobody() {
    let site = Site::new();
    let ran = call(
        &site,
        &["http://127.0.0.1:1,http://127.0.0.1:2", "api/"],
        &[],
    );
    assert_eq!(ran.status.code(), Some(69), "{ran:?}");
    let text = String::from_utf8(ran.stderr).unwrap();
    assert!(
        text.contains("http://127.0.0.1:1:") && text.contains("http://127.0.0.1:2:"),
        "{text}"
    );
    for bad in [
        &["unix:/x", "api/"][..],
        &["http://u:geheim@h", "api/"],
        &["http://127.0.0.1:1", "api/../x"],
        &["http://127.0.0.1:1", "api/", "-H", "geheim"],
        &["http://127.0.0.1:1", "api/", "-d", "@missing"],
        &[],
    ] {
        let ran = call(&site, bad, &[]);
        assert_eq!(ran.status.code(), Some(2), "{bad:?} {ran:?}");
        let text = String::from_utf8(ran.stderr).unwrap();
        assert!(!text.contains("geheim"), "{text}");
    }
}
