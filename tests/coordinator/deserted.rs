//! A daemon whose connections through the tunnel end: it is gone, and nobody waits for three heartbeats.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::guest::host;
use crate::harness::Room;

/// Less than three heartbeats, after which any silent host is noticed.
const BEFORE_SILENCE: Duration = Duration::from_secs(11);

/// Sends a request and leaves the connection open.
async fn send(socket: &Path, path: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn answered(stream: &mut UnixStream) {
    assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
}

async fn state(room: &Room) -> String {
    let got = room.get("/v1/hosts/a").await.ok();
    got["host"]["state"].as_str().unwrap().to_owned()
}

async fn register(socket: &Path) -> UnixStream {
    let body = json!({"name": "a", "hostId": "a", "capabilities": ["x"]}).to_string();
    let mut stream = send(socket, "/v1/hosts/register", &body).await;
    answered(&mut stream).await;
    stream
}

#[tokio::test]
async fn who_waited_for_work_and_hung_up_is_gone() {
    let room = Room::open().await;
    let socket = room.relay(&host("a"));
    let first = register(&socket).await;
    let claim = json!({"max": 1, "waitMs": 30000}).to_string();
    let before = room.get("/v1/hosts/a").await.ok();
    let waits = send(&socket, "/v1/hosts/a/claim", &claim).await;
    room.until(async |room| {
        let now = room.get("/v1/hosts/a").await.ok();
        now["host"]["lastSeenAt"] != before["host"]["lastSeenAt"]
    })
    .await;
    let since = Instant::now();
    drop((first, waits));
    room.until(async |room| state(room).await == "stale").await;
    assert!(since.elapsed() < BEFORE_SILENCE, "{:?}", since.elapsed());
    let id = room.submit(&["x"]).await;
    let explained = room.get(&format!("/v1/jobs/{id}/explain")).await.ok();
    let why = explained["hosts"][0]["why"].as_str().unwrap();
    assert!(why.contains("its connections have ended"), "{why}");
    // It is back with its next word.
    let mut again = send(&socket, "/v1/hosts/a/heartbeat", "{}").await;
    answered(&mut again).await;
    assert_eq!(state(&room).await, "live");
    room.stop().await;
}

#[tokio::test]
async fn who_held_leases_and_hung_up_is_gone_and_keeps_them_for_their_time() {
    let room = Room::open().await;
    let socket = room.relay(&host("a"));
    let first = register(&socket).await;
    let id = room.submit(&["x"]).await;
    room.claim("a").await;
    let since = Instant::now();
    drop(first);
    room.until(async |room| state(room).await == "stale").await;
    assert!(since.elapsed() < BEFORE_SILENCE, "{:?}", since.elapsed());
    assert_eq!(room.job(&id).await["status"], "leased");
    room.stop().await;
}

#[tokio::test]
async fn who_only_came_by_or_comes_again_at_once_is_not_gone() {
    let room = Room::open().await;
    let socket = room.relay(&host("a"));
    // Held nothing, waited for nothing.
    drop(register(&socket).await);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(state(&room).await, "live");
    room.submit(&["x"]).await;
    let first = register(&socket).await;
    room.claim("a").await;
    drop(first);
    let _second = register(&socket).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(state(&room).await, "live");
    room.stop().await;
}
