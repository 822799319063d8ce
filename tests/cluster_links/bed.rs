//! Members on real sockets: the receiving side of links, with a handler of the test's behind it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use futures_util::future::{BoxFuture, FutureExt};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use skyclaw::coordinator::cluster::{
    Effective, Introduction, Links, PeerDoor, PeerMark, Receiver, Secrets, Url, is_for_peers,
};
use skyclaw::coordinator::{Caller, Tokens};
use skyclaw::queue::cluster::{Kind, Member, MemberId, PROTOCOL, Role};
use skyclaw::queue::{self};
use skyclaw::support::clock::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Long enough for a busy machine; nothing waits for it when all is well.
pub const SOON: Duration = Duration::from_secs(20);

/// What answers requests that are not between members.
pub type Handler =
    Arc<dyn Fn(Effective, Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// Returns a handler.
pub fn handler<F>(
    answer: impl Fn(Effective, Request<Incoming>) -> F + Send + Sync + 'static,
) -> Handler
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    Arc::new(move |effective, request| answer(effective, request).boxed())
}

/// Says whom it answers.
pub fn says_for_whom() -> Handler {
    handler(|effective, request| async move {
        let Effective {
            caller, forwarded, ..
        } = effective;
        let text = format!(
            "{caller} {forwarded} {} {}",
            request.method(),
            request.uri()
        );
        text.into_response()
    })
}

/// Keeps messages and answers with them turned around.
#[derive(Clone, Default)]
pub struct Echo(pub Arc<Mutex<Vec<(Kind, usize)>>>);

impl Receiver for Echo {
    fn receive(
        &self,
        kind: Kind,
        mut body: Vec<u8>,
    ) -> BoxFuture<'_, Result<Vec<u8>, queue::Error>> {
        self.0.lock().unwrap().push((kind, body.len()));
        body.reverse();
        Box::pin(async move { Ok(body) })
    }
}

/// Returns what members with these tokens know in common.
pub fn secrets(tokens: &str) -> Secrets {
    Secrets::of(None, &Tokens::parse(tokens))
}

/// Returns the links of a member.
pub fn links(id: MemberId, tokens: &str) -> Links {
    let links = Links::new(secrets(tokens));
    links.introduce(move || Introduction {
        member: id,
        name: format!("node_{id}"),
        protocol: PROTOCOL,
        cluster: None,
        role: Role::Lone,
        leader: None,
        url: Some("http://there:8787".to_owned()),
        peers: vec!["http://other:8787".to_owned()],
        now: Timestamp::from_millis(1_700_000_000_000),
    });
    links
}

/// A member that listens. Dropped, it is gone, with all its connections.
pub struct Peer {
    pub id: MemberId,
    pub links: Links,
    pub address: SocketAddr,
    pub echo: Echo,
    /// How many connections came.
    pub accepted: Arc<AtomicUsize>,
    /// How many have ended.
    pub ended: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Peer {
    pub async fn open(tokens: &str) -> Self {
        Self::with(tokens, says_for_whom()).await
    }

    pub async fn with(tokens: &str, handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, tokens, handler, None)
    }

    /// As [`Peer::with`], on this listener; everybody who comes is `caller`, or known by address.
    pub fn on(
        listener: TcpListener,
        tokens: &str,
        handler: Handler,
        caller: Option<Caller>,
    ) -> Self {
        let id = MemberId::random();
        let links = links(id, tokens);
        let echo = Echo::default();
        let door =
            PeerDoor::new(&links, echo.clone()).route("/raft/double", |peer, number: u64| {
                assert_ne!(peer.name, "");
                async move { Ok(number * 2) }
            });
        let door = Arc::new(door);
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicUsize::new(0));
        let (count, over) = (Arc::clone(&accepted), Arc::clone(&ended));
        let serving = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, from)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let caller = caller.clone().unwrap_or(Caller::Network(from.ip()));
                let served = serve(
                    stream,
                    Arc::new(caller),
                    Arc::clone(&door),
                    Arc::clone(&handler),
                );
                let over = Dropped(Arc::clone(&over));
                open.spawn(async move {
                    let _over = over;
                    served.await;
                });
            }
        });
        Self {
            id,
            links,
            address,
            echo,
            accepted,
            ended,
            serving,
        }
    }

    pub fn url(&self) -> Url {
        url(self.address)
    }

    pub fn member(&self) -> (MemberId, Member) {
        (self.id, member_at(self.address))
    }

    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

pub fn url(address: SocketAddr) -> Url {
    format!("http://{address}").parse().unwrap()
}

pub fn member_at(address: SocketAddr) -> Member {
    Member {
        url: url(address).to_string(),
        name: "node_test".to_owned(),
        protocol: PROTOCOL,
        ..Member::default()
    }
}

async fn serve(
    stream: tokio::net::TcpStream,
    own: Arc<Caller>,
    door: Arc<PeerDoor>,
    handler: Handler,
) {
    let mark = Arc::new(PeerMark::default());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (mark, own) = (Arc::clone(&mark), Arc::clone(&own));
        let (door, handler) = (Arc::clone(&door), Arc::clone(&handler));
        async move {
            if is_for_peers(request.uri().path()) {
                return Ok::<_, Infallible>(door.answer(&mark, &own, request).await);
            }
            Ok(match mark.effective(&own, &mut request) {
                Ok(effective) => handler(effective, request).await,
                Err(refused) => refused.into_response(),
            })
        }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// A member that passes everything on to another, as one that follows does.
pub async fn follower(
    links: Links,
    leader: (MemberId, Member),
    as_owner: bool,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let leader = Arc::new(leader);
    let serving = tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((stream, from)) = listener.accept().await {
            let caller = if as_owner {
                Caller::Owner
            } else {
                Caller::Network(from.ip())
            };
            let (links, leader) = (links.clone(), Arc::clone(&leader));
            let service = service_fn(move |request: Request<Incoming>| {
                let (links, leader, caller) = (links.clone(), Arc::clone(&leader), caller.clone());
                async move {
                    let passed = links.forward(&leader, request, &caller).await;
                    Ok::<_, Infallible>(passed.unwrap_or_else(|error| {
                        let status = match &error {
                            skyclaw::coordinator::cluster::ForwardError::Unsent { .. } => 503,
                            skyclaw::coordinator::cluster::ForwardError::Unknown { .. } => 502,
                        };
                        let status = axum::http::StatusCode::from_u16(status).unwrap();
                        (status, error.to_string()).into_response()
                    }))
                }
            });
            open.spawn(async move {
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, serving)
}

/// Waits until it holds.
pub async fn until(mut holds: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + SOON;
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "it never came true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Becomes true when it is dropped.
pub struct Dropped(pub Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
