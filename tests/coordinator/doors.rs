//! The ways into a coordinator, all open at the same time.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use reqwest::Method;
use serde_json::json;
use skyclaw::coordinator::{Caller, Keys, OwnersSocket, Tokens, Visitor};
use skyclaw::support::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::common::is_root;
use crate::guest::host;
use crate::harness::{Got, Room};

#[tokio::test]
async fn every_door_has_its_own_rule_and_all_are_open_at_once() {
    let room = Room::with(|settings| {
        settings.tokens = Tokens::parse("shared");
        settings.keys = Keys::parse("public-key").unwrap();
    })
    .await;
    let owner = room.owner();
    owner.get("/v1/state").await.ok();
    owner.post("/v1/queue/pause", &json!({})).await.ok();
    room.get("/v1/state").await.refused(401, "unauthorized");
    let tunnel = room.guest(&host("a"));
    tunnel.get("/health").await.ok();
    tunnel.get("/v1/state").await.refused(403, "forbidden");
    // The public routes ask for their key, whoever comes.
    let public = json!({"payload": {"kind": "openclaw-run", "args": ["agent"]}});
    let keyed = |request: reqwest::RequestBuilder| {
        Got::of(
            request
                .header("x-api-key", "public-key")
                .body(public.to_string()),
        )
    };
    let path = "/v1/public/jobs";
    owner.post(path, &public).await.refused(401, "unauthorized");
    keyed(owner.request(Method::POST, path)).await.ok();
    keyed(room.request(Method::POST, path)).await.ok();
    let refused = keyed(tunnel.request(Method::POST, path)).await;
    refused.refused(403, "forbidden");
    room.stop().await;
}

#[tokio::test]
async fn a_door_that_nobody_comes_through_any_more_closes_no_other() {
    let mut room = Room::open().await;
    // The only sender goes.
    room.streams = tokio::sync::mpsc::channel(1).0;
    for _ in 0..3 {
        room.get("/v1/queue").await.ok();
        room.owner().get("/v1/queue").await.ok();
    }
    room.stop().await;
}

#[tokio::test]
async fn the_socket_goes_with_the_coordinator_and_the_next_one_opens_it_again() {
    let room = Room::open().await;
    let socket = Room::socket(&room.dir());
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let taken = OwnersSocket::open(&socket).unwrap_err().to_string();
    assert!(
        taken.ends_with("is served by another coordinator"),
        "{taken}"
    );
    let dir = room.stop().await;
    assert!(!socket.exists());
    let room = Room::at(dir, |_| {}).await;
    room.owner().get("/v1/queue").await.ok();
    room.stop().await;
}

#[tokio::test]
async fn another_user_is_shut_out_even_if_the_file_lets_him() {
    let room = Room::open().await;
    let socket = Room::socket(&room.dir());
    if !is_root() {
        // Only root can become somebody else.
        room.stop().await;
        return;
    }
    // Where others may run it.
    let program = room.dir().join("skyclaw");
    std::fs::copy(env!("CARGO_BIN_EXE_skyclaw"), &program).unwrap();
    for (path, mode) in [(&room.dir(), 0o755), (&program, 0o755), (&socket, 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let ask = |uid: u32| {
        let url = skyclaw::client::unix_url(&socket).unwrap();
        let mut command = Command::new(&program);
        command.args(["queue", "show", "--json", "--coordinator", url.as_str()]);
        let done = tokio::task::spawn_blocking(move || {
            command.env_clear().env("HOME", "/").uid(uid).gid(uid);
            command.output().unwrap()
        });
        async { done.await.unwrap() }
    };
    let own = ask(0).await;
    assert_eq!(own.status.code(), Some(0), "{own:?}");
    let other = ask(65_534).await;
    assert_eq!(other.status.code(), Some(69), "{other:?}");
    let text = String::from_utf8_lossy(&other.stdout);
    assert!(!text.contains("counts"), "{text}");
    room.stop().await;
}

#[tokio::test]
async fn a_tunnel_with_a_token_must_show_it_with_every_request() {
    let room = Room::with(|settings| settings.tokens = Tokens::parse("shared")).await;
    let caller = Caller::Host {
        name: "a".to_owned(),
        may_submit: false,
        said: None,
        token: Some(Secret::new("of-this-tunnel".to_owned())),
    };
    let tunnel = room.guest(&caller);
    for path in ["/health", "/v1/state", "/v1/public/jobs/x", "/nope"] {
        tunnel.get(path).await.refused(401, "unauthorized");
        // Neither the shared token nor an empty one opens a tunnel.
        for wrong in ["shared", "", "of-this-tunne"] {
            let request = tunnel.request(Method::GET, path);
            let got = Got::of(request.header("x-skyclaw-token", wrong)).await;
            got.refused(401, "unauthorized");
        }
    }
    let shown = |path: &str| {
        tunnel
            .request(Method::GET, path)
            .header("x-skyclaw-token", "of-this-tunnel")
    };
    Got::of(shown("/health")).await.ok();
    Got::of(shown("/v1/state")).await.refused(403, "forbidden");
    room.stop().await;
}

#[tokio::test]
async fn streams_have_the_limits_of_connections() {
    let room = Room::open().await;
    let (ours, theirs) = duplex(1 << 20);
    let visitor = Visitor {
        stream: Box::new(theirs),
        caller: host("a"),
    };
    room.streams.send(visitor).await.unwrap();
    let (mut read, mut write) = tokio::io::split(ours);
    let head = format!("GET /health HTTP/1.1\r\nx: {}\r\n", "y".repeat(80 << 10));
    let sent = tokio::spawn(async move { write.write_all(head.as_bytes()).await });
    let mut answer = Vec::new();
    let _ = read.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
    let _ = sent.await.unwrap();
    room.stop().await;
}
