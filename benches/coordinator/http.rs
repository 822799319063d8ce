//! The least HTTP/1.1 that keeps a connection busy, so that the client costs little.
//!
//! One request at a time on a connection that stays open, bodies with a length, no redirects.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What every request carries.
pub const TOKEN: &str = "made-up-for-the-bench";

/// A connection that stays open.
pub struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects to `address`.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            out: Vec::with_capacity(1024),
            answer: Vec::with_capacity(4096),
        }
    }

    /// Returns the status and the body of the answer.
    pub async fn send(&mut self, method: &str, path: &str, body: &[u8]) -> (u16, &[u8]) {
        self.out.clear();
        let length = body.len();
        for part in [method, " ", path, " HTTP/1.1\r\nhost: bench\r\n"] {
            self.out.extend_from_slice(part.as_bytes());
        }
        let rest = format!(
            "x-skyclaw-token: {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        self.out.extend_from_slice(rest.as_bytes());
        self.out.extend_from_slice(body);
        self.stream.write_all(&self.out).await.unwrap();
        self.receive().await
    }

    /// Returns the body of the answer, which must be good.
    pub async fn post(&mut self, path: &str, body: &[u8]) -> &[u8] {
        let (status, answer) = self.send("POST", path, body).await;
        assert!(
            (200..300).contains(&status),
            "POST {path}: {status} {}",
            String::from_utf8_lossy(answer)
        );
        answer
    }

    /// Returns the body of the answer, which must be good.
    pub async fn get(&mut self, path: &str) -> &[u8] {
        let (status, answer) = self.send("GET", path, b"").await;
        assert!(
            (200..300).contains(&status),
            "GET {path}: {status} {}",
            String::from_utf8_lossy(answer)
        );
        answer
    }

    async fn receive(&mut self) -> (u16, &[u8]) {
        self.answer.clear();
        let mut searched = 0;
        let head = loop {
            self.more().await;
            if let Some(at) = find(&self.answer, b"\r\n\r\n", searched) {
                break at + 4;
            }
            searched = self.answer.len().saturating_sub(3);
        };
        let (status, length) = read_head(&self.answer[..head]);
        while self.answer.len() < head + length {
            self.answer.reserve(head + length - self.answer.len());
            self.more().await;
        }
        (status, &self.answer[head..head + length])
    }

    async fn more(&mut self) {
        let count = self.stream.read_buf(&mut self.answer).await.unwrap();
        assert!(count > 0, "the connection was closed");
    }
}

fn find(text: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let found = text.get(from..)?.windows(what.len());
    found
        .enumerate()
        .find_map(|(at, window)| (window == what).then_some(from + at))
}

/// Returns the status and the length of the body.
fn read_head(head: &[u8]) -> (u16, usize) {
    let head = std::str::from_utf8(head).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let status = status.parse().unwrap();
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.trim().parse().unwrap());
    let length = length.or((status == 204).then_some(0));
    (status, length.expect("an answer with a length"))
}
