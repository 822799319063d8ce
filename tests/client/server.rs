//! Servers that say what they are told to say, on real sockets.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::json;
use skyclaw::client::{Client, Settings, parse_url, unix_url};
use skyclaw::protocol::JobId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

/// What a server does with one request.
#[derive(Clone)]
pub enum Reply {
    /// Answers with a status and a body.
    Say(u16, String),
    /// The same with `retry-after: 1`.
    SoonAgain(u16, String),
    /// Reads the request and says nothing.
    Silence,
    /// Reads the request and closes.
    Close,
    /// Sends these events and closes.
    Events(String),
    /// Sends these events and nothing more.
    EventsAndSilence(String),
}

/// Answers the requests in turn; the last reply is given for ever. Remembers what it was asked.
pub struct Server {
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::answering(listener, in_turn(replies))
    }

    /// Answers each request as this says, which gets it in lower case.
    pub fn answering(listener: TcpListener, answer: Answer) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&answer)));
            }
        });
        Self { url, asked }
    }

    /// The same at a Unix socket, where `replies` are given to whatever connects.
    pub fn start_at(path: &std::path::Path, replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answer = in_turn(replies);
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&answer)));
            }
        });
        let url = unix_url(path).unwrap().to_string();
        Self { url, asked }
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Says what to reply to a request.
pub type Answer = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// Gives the replies in turn, the last one for ever.
fn in_turn(replies: impl IntoIterator<Item = Reply>) -> Answer {
    let replies = Mutex::new(replies.into_iter().collect::<VecDeque<_>>());
    Arc::new(move |_| {
        let mut replies = replies.lock().unwrap();
        match replies.len() {
            1 => replies[0].clone(),
            _ => replies.pop_front().unwrap(),
        }
    })
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    asked: Arc<Mutex<Vec<String>>>,
    answer: Answer,
) {
    loop {
        let Some(request) = read_request(&mut stream).await else {
            return;
        };
        let reply = answer(&request);
        asked.lock().unwrap().push(request);
        let (more, reply) = match reply {
            Reply::SoonAgain(status, body) => ("retry-after: 1\r\n", Reply::Say(status, body)),
            other => ("", other),
        };
        let text = match reply {
            Reply::Say(status, body) | Reply::SoonAgain(status, body) => format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {}\r\n\r\n{body}",
                body.len()
            ),
            Reply::Silence => std::future::pending().await,
            Reply::EventsAndSilence(events) => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
                let _ = stream.write_all(format!("{head}{events}").as_bytes()).await;
                std::future::pending().await
            }
            Reply::Close => return,
            Reply::Events(events) => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(format!("{head}{events}").as_bytes()).await;
                return;
            }
        };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return Some(text);
            }
        }
    }
}

pub fn queue_state() -> Reply {
    let counts = json!({"queued": 1, "leased": 0, "completed": 0, "failed": 0});
    Reply::Say(200, json!({"paused": false, "counts": counts}).to_string())
}

pub fn refusal(status: u16, code: &str) -> Reply {
    Reply::Say(status, json!({"error": "no", "code": code}).to_string())
}

pub fn job_json(id: JobId, status: &str) -> serde_json::Value {
    json!({
        "id": id, "status": status, "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z", "attempts": 0,
        "requirement": {"requiredCapabilities": []}, "payload": {"kind": "shell", "command": "true"},
        "priority": 0, "updatedBy": "node_1", "version": 1,
    })
}

/// A port on which nobody listens.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

pub fn settings(urls: &[&str]) -> Settings {
    Settings {
        // Those who want it say so: here every request counts.
        discover: false,
        ..Settings::new(urls.iter().map(|url| parse_url(url).unwrap()).collect())
    }
}

pub fn client(urls: &[&str]) -> Client {
    Client::new(settings(urls)).unwrap()
}

pub fn header<'r>(request: &'r str, name: &str) -> Option<&'r str> {
    request
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
