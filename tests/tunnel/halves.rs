//! Bodies that are sent by half through a tunnel: they hold what one host may, and nothing once their streams end.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::rig::{Rig, SOON};
use crate::site::Site;

/// The longest body there may be; two of them are all that one host may have in memory.
const LONGEST: usize = 16 << 20;
/// Less than a body is waited for that does not arrive.
const BEFORE_PATIENCE: Duration = Duration::from_secs(20);

/// Sends the head of a request with a body of `length` bytes, and `body`.
async fn send(socket: &Path, path: &str, length: usize, body: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

async fn status(stream: &mut UnixStream) -> String {
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    String::from_utf8_lossy(&head).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_bodies_pin_no_memory_once_their_streams_are_gone() {
    let Some(rig) = Rig::new() else { return };
    let mut running = rig.start();
    running.up().await;
    let site = Site::within(running.take_visits()).await;
    let socket = rig.socket();
    let host = json!({"name": "alpha", "hostId": "alpha"}).to_string();
    let path = "/v1/hosts/register";
    let mut registered = send(&socket, path, host.len(), host.as_bytes()).await;
    assert_eq!(status(&mut registered).await, "HTTP/1.1 200");

    let mut halves = Vec::new();
    for _ in 0..6 {
        let half = vec![b' '; 1 << 20];
        halves.push(send(&socket, "/v1/hosts/alpha/complete", LONGEST, &half).await);
    }
    // Two of them hold all there is, so that nothing else of this host gets in.
    let mut waits = loop {
        let mut beat = send(&socket, "/v1/hosts/alpha/heartbeat", 2, b"{}").await;
        match timeout(Duration::from_millis(500), status(&mut beat)).await {
            Ok(status) => assert_eq!(status, "HTTP/1.1 200"),
            Err(_) => break beat,
        }
    };
    drop(halves);
    // All of it is free again, long before the bodies are given up.
    let answer = timeout(BEFORE_PATIENCE, status(&mut waits)).await;
    assert_eq!(answer.expect("there is room again"), "HTTP/1.1 200");
    let whole = format!("{{\"completions\":[]{}}}", " ".repeat(LONGEST - 1024));
    let path = "/v1/hosts/alpha/complete";
    let mut long = send(&socket, path, whole.len(), whole.as_bytes()).await;
    let answer = timeout(SOON, status(&mut long)).await;
    assert_eq!(answer.expect("a long one gets in"), "HTTP/1.1 200");
    running.stop().await;
    drop(site);
}
