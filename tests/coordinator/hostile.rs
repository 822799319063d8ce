//! Requests that are too large, too deep, malformed or too slow.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::Room;

async fn raw(room: &Room) -> TcpStream {
    TcpStream::connect(room.base.trim_start_matches("http://"))
        .await
        .unwrap()
}

/// Sends bytes and returns all that comes back until the other side closes.
async fn exchange(room: &Room, bytes: &[u8]) -> String {
    let mut stream = raw(room).await;
    // The answer may come before all is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn bodies_have_a_limit_that_depends_on_the_route() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let text = |length: usize| "x".repeat(length);
    let big = json!({"payload": {"kind": "shell", "command": text(2 << 20)}});
    let refused = room
        .post("/v1/jobs", big.clone())
        .await
        .refused(413, "too_large");
    assert!(refused.contains("1048576"), "{refused}");
    room.post("/v1/jobs/batch", json!({"jobs": [big]}))
        .await
        .ok();
    let report = json!({"hostId": "zz", "success": true, "durationMs": 1, "exitCode": 0, "stdout": text(3 << 20), "stderr": ""});
    room.post("/v1/jobs/job_x/complete", report)
        .await
        .refused(404, "unknown_host");
    let huge = json!({"jobs": text(17 << 20)});
    room.post("/v1/jobs/batch", huge.clone())
        .await
        .refused(413, "too_large");
    // A whole state may be that long; this one is none.
    room.post("/v1/replicate/snapshot", huge)
        .await
        .refused(400, "bad_request");
    // Without a length it is counted as it comes.
    let chunked = exchange(&room, &chunked_request(2 << 20)).await;
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");
    room.get("/health").await.ok();
    room.stop().await;
}

fn chunked_request(length: usize) -> Vec<u8> {
    let mut bytes = b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n".to_vec();
    for _ in 0..length / 4096 {
        bytes.extend_from_slice(b"1000\r\n");
        bytes.extend_from_slice(&[b' '; 4096]);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[tokio::test]
async fn malformed_requests_are_the_callers_fault() {
    let room = Room::open().await;
    let deep = format!(r#"{{"payload":{}{}}}"#, "[".repeat(70), "]".repeat(70));
    for body in [
        &b"{\"a"[..],
        b"\xff\xfe",
        b"[]",
        b"nothing",
        b"{\"payload\":{}} x",
        deep.as_bytes(),
    ] {
        let request = room.request(Method::POST, "/v1/jobs").body(body.to_vec());
        let got = room.send(request).await;
        got.refused(400, "bad_request");
    }
    // No body, or only white space, is an empty object; the content type does not matter.
    for body in ["", "  \n"] {
        let request = room
            .request(Method::POST, "/v1/hosts/register")
            .header("content-type", "text/odd")
            .body(body);
        let text = room.send(request).await.refused(400, "bad_request");
        assert_eq!(text, "name is required");
    }
    for path in ["/v1/jobs/%", "/v1/jobs/%zz", "/v1/hosts/%ff/claim"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let got = exchange(&room, request.as_bytes()).await;
        assert!(got.starts_with("HTTP/1.1 400"), "{path}: {got}");
    }
    room.stop().await;
}

#[tokio::test]
async fn heads_have_limits() {
    let room = Room::open().await;
    let long = format!(
        "GET /health HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
        "y".repeat(100 << 10)
    );
    let many = format!(
        "GET /health HTTP/1.1\r\nhost: x\r\n{}\r\n",
        "x-y: z\r\n".repeat(500)
    );
    for request in [long, many] {
        let got = exchange(&room, request.as_bytes()).await;
        assert!(
            got.is_empty() || got.starts_with("HTTP/1.1 431") || got.starts_with("HTTP/1.1 400"),
            "{got}"
        );
    }
    let long = "k".repeat(300);
    let got = room.post_keyed("/v1/jobs", &long, json!({})).await;
    got.refused(400, "bad_request");
    room.get("/health").await.ok();
    room.stop().await;
}

#[tokio::test]
async fn who_sends_one_byte_a_second_is_dropped() {
    let room = Room::open().await;
    let trickle = async |head: &[u8]| {
        let mut stream = raw(&room).await;
        stream.write_all(head).await.unwrap();
        let begun = Instant::now();
        let mut buffer = [0; 1024];
        loop {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it is never dropped"
            );
            match timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
                // The end, or the answer that comes before it.
                Ok(_) => return begun.elapsed(),
                Err(_) => {
                    let _ = stream.write_all(b"x").await;
                    sleep(Duration::ZERO).await;
                }
            }
        }
    };
    let (head, body) = tokio::join!(
        trickle(b"GET /health HTTP/1.1\r\nx-slow: "),
        trickle(b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"),
    );
    for span in [head, body] {
        assert!(span > Duration::from_secs(20), "{span:?}");
    }
    room.stop().await;
}

#[tokio::test]
async fn who_never_reads_is_dropped() {
    let room = Room::open().await;
    let mut stream = raw(&room).await;
    let begun = Instant::now();
    let many = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
    // Until the other side is gone: it stops to read when it cannot write.
    let written = timeout(Duration::from_secs(90), async {
        while stream.write_all(&many).await.is_ok() {}
    });
    written.await.expect("it is dropped");
    assert!(
        begun.elapsed() > Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    room.stop().await;
}
