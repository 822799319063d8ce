//! A service that speaks HTTP/2 and nothing else, in the clear or over TLS, and does with each stream what a test says.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, SendStream};
use hyper::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// One request.
pub struct Turn {
    pub head: hyper::http::request::Parts,
    pub body: RecvStream,
    pub respond: SendResponse<Bytes>,
    /// How many came before it, without probes.
    pub before: usize,
}

impl Turn {
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// Answers with this status and returns what its body goes into.
    pub fn begin(&mut self, status: u16) -> SendStream<Bytes> {
        let mut response = Response::new(());
        *response.status_mut() = status.try_into().unwrap();
        self.respond.send_response(response, false).unwrap()
    }

    /// Answers with this text.
    pub fn say(&mut self, text: impl Into<String>) {
        let mut to = self.begin(200);
        to.send_data(Bytes::from(text.into()), true).unwrap();
    }

    /// Reads the body to its end, and what stands behind it.
    pub async fn all(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        let mut all = Vec::new();
        while let Some(Ok(piece)) = self.body.data().await {
            self.body
                .flow_control()
                .release_capacity(piece.len())
                .unwrap();
            all.extend_from_slice(&piece);
        }
        (all, self.body.trailers().await.unwrap_or_default())
    }
}

/// How it behaves.
#[derive(Clone, Default)]
pub struct Manner {
    pub builder: Builder,
    pub tls: Option<TlsAcceptor>,
    /// After how many streams a connection takes no more.
    pub last_after: Option<usize>,
    /// What probes hear; 200 if nothing is said.
    pub health: Option<Arc<AtomicUsize>>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    served: AtomicUsize,
    probes: Mutex<Vec<String>>,
}

/// A running server. Dropping it closes its port and its connections.
pub struct Two {
    pub address: SocketAddr,
    counts: Arc<Counts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Two {
    pub fn new<F>(manner: Manner, serve: impl Fn(Turn) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let counts = Arc::<Counts>::default();
        let (stop, stopped) = oneshot::channel();
        let (told, address) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let kept = Arc::clone(&counts);
        let serve = Arc::new(serve);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                let accepting = async {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        let (kept, serve) = (Arc::clone(&kept), Arc::clone(&serve));
                        let manner = manner.clone();
                        tokio::spawn(async move {
                            match &manner.tls {
                                None => converse(stream, &manner, &kept, &*serve).await,
                                Some(tls) => {
                                    if let Ok(stream) = tls.accept(stream).await {
                                        converse(stream, &manner, &kept, &*serve).await;
                                    }
                                }
                            }
                        });
                    }
                };
                tokio::select! {
                    _ = stopped => {}
                    () = accepting => {}
                }
            });
        });
        Self {
            address: address.recv().unwrap(),
            counts,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn url(&self) -> String {
        format!("h2c://{}", self.address)
    }

    /// Returns how many connections carried requests, without those of probes.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Returns how many requests came, without probes.
    pub fn served(&self) -> usize {
        self.counts.served.load(Ordering::SeqCst)
    }

    /// Returns what probes asked for.
    pub fn probes(&self) -> Vec<String> {
        self.counts.probes.lock().unwrap().clone()
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        let _ = self.thread.take().unwrap().join();
    }
}

async fn converse<I, F>(
    stream: I,
    manner: &Manner,
    counts: &Counts,
    serve: &(impl Fn(Turn) -> F + Send + Sync),
) where
    I: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = manner.builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    let mut taken = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (head, body): (_, RecvStream) = Request::into_parts(request);
        if head.uri.path() == "/health" {
            counts.probes.lock().unwrap().push(head.uri.to_string());
            let status = manner
                .health
                .as_ref()
                .map_or(200, |status| status.load(Ordering::SeqCst));
            let answer = Response::builder().status(u16::try_from(status).unwrap());
            let _ = respond.send_response(answer.body(()).unwrap(), true);
            continue;
        }
        if taken == 0 {
            counts.connections.fetch_add(1, Ordering::SeqCst);
        }
        taken += 1;
        let before = counts.served.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(serve(Turn {
            head,
            body,
            respond,
            before,
        }));
        if manner.last_after == Some(taken) {
            connection.graceful_shutdown();
        }
    }
}
