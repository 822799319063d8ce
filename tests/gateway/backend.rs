//! A service's process, as far as a gateway sees it: an HTTP server on a thread of its own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A request as it arrived. Header names are in lower case.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A running server. Dropping it closes its port and its connections.
pub struct Backend {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Returns an answer with this status and text.
pub fn text(status: u16, body: impl Into<String>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.into())));
    *response.status_mut() = status.try_into().unwrap();
    response
}

impl Backend {
    /// Answers everything with 200 and `name`.
    pub fn named(name: &'static str) -> Self {
        Self::with(move |_| text(200, name))
    }

    /// Answers what `answer` says, on a port of its own.
    pub fn with(answer: impl Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), answer)
    }

    /// The same, on this address.
    pub fn at(
        address: SocketAddr,
        answer: impl Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let (told, address_of) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (kept, answer) = (Arc::clone(&seen), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::bind(address).await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    _ = stopped => {}
                    () = serve(listener, kept, answer) => {}
                }
            });
        });
        Self {
            address: address_of.recv().unwrap(),
            seen,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns what arrived so far, without probes.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        let asked = seen.iter().filter(|one| one.target != "/health");
        asked.cloned().collect()
    }

    /// Returns how often it was probed.
    pub fn probes(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|one| one.target == "/health").count()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        let _ = self.thread.take().unwrap().join();
    }
}

async fn serve<A>(listener: TcpListener, kept: Arc<Mutex<Vec<Seen>>>, answer: Arc<A>)
where
    A: Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
        let service = service_fn(move |request: Request<Incoming>| {
            let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
            async move {
                let (head, body) = request.into_parts();
                let body = match body.collect().await {
                    Ok(body) => body.to_bytes().to_vec(),
                    Err(_) => return Ok(text(400, "half a body")),
                };
                let seen = Seen {
                    method: head.method.to_string(),
                    target: head.uri.to_string(),
                    headers: head
                        .headers
                        .iter()
                        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                        .collect(),
                    body,
                };
                kept.lock().unwrap().push(seen.clone());
                // An answer may take its time; the others must not wait for it.
                let answered = tokio::task::spawn_blocking(move || answer(&seen)).await;
                Ok::<_, Infallible>(answered.unwrap())
            }
        });
        tokio::spawn(async move {
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
