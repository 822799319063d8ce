//! A coordinator in this process, with all its doors open, and a client for its port.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use skyclaw::coordinator::{self, Deps, Doors, OwnersSocket, Settings, Visitor};
use skyclaw::queue::{Options, Queue};
use skyclaw::support::shutdown::{self, Cause, Trigger};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Long enough for a busy machine; nothing waits for it when all is well.
pub const SOON: Duration = Duration::from_secs(20);

/// A running coordinator. Dropping it forgets it; [`Room::stop`] ends it.
pub struct Room {
    pub base: String,
    pub client: Client,
    pub queue: Queue,
    /// Hands over connections as tunnels do.
    pub streams: mpsc::Sender<Visitor>,
    trigger: Trigger,
    serving: JoinHandle<()>,
    dir: Arc<tempfile::TempDir>,
}

/// Returns a client for one test.
pub fn client() -> Client {
    // Whoever came first has installed the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap()
}

/// What a request came back with.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Got {
    pub async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
        };
        Self {
            status,
            headers,
            body,
        }
    }

    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.body["code"], code, "{}", self.body);
        self.body["error"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Room {
    pub async fn open() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(set: impl FnOnce(&mut Settings)) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::at(dir, set).await
    }

    /// Serves the database in `dir`.
    pub async fn at(dir: Arc<tempfile::TempDir>, set: impl FnOnce(&mut Settings)) -> Self {
        let queue = Queue::open(Options::new(Self::db(dir.path()))).unwrap();
        let mut settings = Settings::new("node_test");
        set(&mut settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (streams, visitors) = mpsc::channel(1);
        let doors = Doors {
            tcp: vec![listener],
            unix: Some(OwnersSocket::open(&Self::socket(dir.path())).unwrap()),
            streams: Some(visitors),
        };
        let (trigger, shutdown) = shutdown::manual();
        let deps = Deps {
            queue: queue.clone(),
            settings,
            on_event: None,
            cluster: None,
        };
        let serving = tokio::spawn(async move {
            coordinator::run(deps, doors, shutdown).await.unwrap();
        });
        let client = client();
        Self {
            base,
            client,
            queue,
            streams,
            trigger,
            serving,
            dir,
        }
    }

    pub fn db(dir: &Path) -> PathBuf {
        dir.join("coordinator.db")
    }

    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub fn socket(dir: &Path) -> PathBuf {
        dir.join("coordinator.sock")
    }

    /// Stops it and returns where its database is.
    pub async fn stop(self) -> Arc<tempfile::TempDir> {
        self.trigger.ask(Cause::Terminate);
        tokio::time::timeout(SOON, self.serving)
            .await
            .expect("the coordinator ends")
            .unwrap();
        self.dir
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub async fn send(&self, request: RequestBuilder) -> Got {
        Got::of(request).await
    }

    pub async fn get(&self, path: &str) -> Got {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Got {
        self.send(self.request(Method::POST, path).body(body.to_string()))
            .await
    }

    pub async fn post_keyed(&self, path: &str, key: &str, body: Value) -> Got {
        let request = self
            .request(Method::POST, path)
            .header("x-idempotency-key", key)
            .body(body.to_string());
        self.send(request).await
    }

    /// Registers a host that can do `capabilities`.
    pub async fn host(&self, id: &str, capabilities: &[&str]) -> Value {
        let body =
            json!({"name": id, "hostId": id, "capabilities": capabilities, "maxParallel": 4});
        self.post("/v1/hosts/register", body).await.ok()
    }

    /// Submits a shell job that needs `capabilities`; returns its id.
    pub async fn submit(&self, capabilities: &[&str]) -> String {
        let body = json!({
            "payload": {"kind": "shell", "command": "true"},
            "requirement": {"requiredCapabilities": capabilities},
        });
        let got = self.post("/v1/jobs", body).await.ok();
        got["job"]["id"].as_str().unwrap().to_owned()
    }

    /// Claims one job for `host`; returns what it is given.
    pub async fn claim(&self, host: &str) -> Value {
        let path = format!("/v1/hosts/{host}/claim");
        self.post(&path, json!({})).await.ok()["job"].clone()
    }

    pub async fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).await.ok()["job"].clone()
    }

    /// Sends `body` to `path` in a task of its own.
    pub fn later(&self, path: &str, body: Value) -> JoinHandle<Value> {
        let request = self.request(Method::POST, path).body(body.to_string());
        tokio::spawn(async move {
            let text = request.send().await.unwrap().text().await.unwrap();
            serde_json::from_str(&text).unwrap()
        })
    }

    /// Waits until `host` is in an open request, as its record shows: it is live without heartbeats.
    pub async fn until(&self, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let end = tokio::time::Instant::now() + SOON;
        while !holds(self).await {
            assert!(tokio::time::Instant::now() < end, "it never came true");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Returns what a completion with this lease looks like.
pub fn done(job: &Value, host: &str) -> Value {
    json!({
        "hostId": host, "success": true, "durationMs": 5, "exitCode": 0, "stdout": "hi\n", "stderr": "",
        "attempt": job["attempts"], "leaseToken": job["leaseToken"],
    })
}

/// Returns the name of the lease in a job that was claimed.
pub fn lease(job: &Value) -> Value {
    json!({"jobId": job["id"], "attempt": job["attempts"], "leaseToken": job["leaseToken"]})
}

impl Room {
    /// Stops it and tells whether the open stream ended with it.
    pub async fn stop_with(self, mut stream: reqwest::Response) -> (Arc<tempfile::TempDir>, bool) {
        let dir = self.stop().await;
        let ended = tokio::time::timeout(SOON, async {
            while let Ok(Some(_)) = stream.chunk().await {}
        });
        (dir, ended.await.is_ok())
    }
}

/// Reads until an event of `kind` came; returns all with their ids.
pub async fn events_until(stream: &mut Response, kind: &str) -> Vec<(String, Value)> {
    let mut text = String::new();
    let read = async {
        loop {
            let events: Vec<(String, Value)> = text
                .split("\n\n")
                .filter_map(|block| {
                    let id = block.lines().find_map(|line| line.strip_prefix("id: "))?;
                    let data = block.lines().find_map(|line| line.strip_prefix("data: "))?;
                    Some((id.to_owned(), serde_json::from_str(data).ok()?))
                })
                .collect();
            if events.iter().any(|(_, event)| event["type"] == kind) {
                return events;
            }
            let bytes = stream.chunk().await.unwrap().expect("it goes on");
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    };
    timeout(SOON, read)
        .await
        .unwrap_or_else(|_| panic!("no {kind}"))
}
