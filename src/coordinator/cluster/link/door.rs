//! The receiving side of links between members: hello, proof, and then the messages of the cluster.
//!
//! Whoever comes is a stranger until its proof. What a stranger can make this do is bounded: small bodies, one try per
//! connection, few wrong tries per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::hello::{Answer, Ask, Prove};
use super::links::Links;
use super::marks::{Greeted, PeerMark, Proven};
use super::proof::{Nonce, Parley, Side};
use super::sought::Sought;
use crate::coordinator::Caller;
use crate::coordinator::api::body::{self, LARGE};
use crate::coordinator::api::error::Refused;
use crate::coordinator::api::reply::Reply;
use crate::coordinator::auth::Guesses;
use crate::protocol::api::Code;
use crate::queue;
use crate::queue::cluster::{Cluster, Kind};

/// Where strangers introduce themselves.
pub const HELLO: &str = "/raft/hello";
/// Where they prove it.
pub const PROVE: &str = "/raft/prove";
/// How long what a stranger sends may be.
const INTRODUCTION: usize = 16 << 10;
/// How long a name may be, and how many keys may be named.
const NAME: usize = 256;
const KEYS: usize = 8;
/// How often a wrong proof is complained about.
const SAID_EACH: Duration = Duration::from_secs(10);
/// How long a message of the cluster may be.
pub const MESSAGE: usize = LARGE;

/// Takes messages of the cluster. [`Cluster`] does.
pub trait Receiver: Send + Sync + 'static {
    /// Returns the answer to one.
    fn receive(&self, kind: Kind, body: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, queue::Error>>;
}

impl Receiver for Cluster {
    fn receive(&self, kind: Kind, body: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, queue::Error>> {
        Box::pin(Self::receive(self, kind, body))
    }
}

/// Answers a message between members.
type Route = Box<dyn Fn(Arc<Proven>, Bytes) -> BoxFuture<'static, Response> + Send + Sync>;

/// Where members come in.
pub struct PeerDoor {
    links: Links,
    receiver: Arc<dyn Receiver>,
    guesses: Guesses,
    /// When a wrong proof was complained about.
    said: Mutex<Option<Instant>>,
    sought: Sought,
    routes: HashMap<&'static str, Route>,
}

impl std::fmt::Debug for PeerDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerDoor").finish_non_exhaustive()
    }
}

/// Tells whether a request to `path` is for [`PeerDoor::answer`].
pub fn is_for_peers(path: &str) -> bool {
    path == "/raft" || path.starts_with("/raft/")
}

impl PeerDoor {
    /// Returns the door of the member whose `links` these are.
    pub fn new(links: &Links, receiver: impl Receiver) -> Self {
        Self {
            links: links.clone(),
            receiver: Arc::new(receiver),
            guesses: Guesses::default(),
            said: Mutex::default(),
            sought: Sought::default(),
            routes: HashMap::new(),
        }
    }

    /// Adds a route between members: a POST below `/raft/` with JSON in and out.
    #[must_use]
    pub fn route<A, B, F>(
        mut self,
        path: &'static str,
        handler: impl Fn(Arc<Proven>, A) -> F + Send + Sync + 'static,
    ) -> Self
    where
        A: DeserializeOwned,
        B: Serialize,
        F: Future<Output = Result<B, Refused>> + Send + 'static,
    {
        debug_assert!(is_for_peers(path), "{path} is not between members");
        let route = move |peer: Arc<Proven>, bytes: Bytes| -> BoxFuture<'static, Response> {
            let answering = body::exact(&bytes).map(|asked| handler(peer, asked));
            Box::pin(async move {
                match answering {
                    Ok(answering) => match answering.await {
                        Ok(answer) => Reply::new(answer).into_response(),
                        Err(refused) => refused.into_response(),
                    },
                    Err(refused) => refused.into_response(),
                }
            })
        };
        self.routes.insert(path, Box::new(route));
        self
    }

    /// Answers a request for which [`is_for_peers`] holds. `mark` is that of its connection, `caller` who is at the
    /// other end of it.
    pub async fn answer(
        &self,
        mark: &PeerMark,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Response {
        self.answered(mark, caller, request)
            .await
            .unwrap_or_else(Refused::into_response)
    }

    async fn answered(
        &self,
        mark: &PeerMark,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Response, Refused> {
        let Caller::Network(address) = *caller else {
            let text = "members of a cluster speak over the network only";
            return Err(Refused::new(Code::Forbidden, text).closing());
        };
        let path = request.uri().path().to_owned();
        let opens = path == HELLO || path == PROVE;
        let peer = mark.opened(&request);
        if !opens && peer.is_none() {
            let text = "whoever speaks here must have proved to be a member of the cluster";
            return Err(Refused::new(Code::Unauthorized, text).closing());
        }
        if request.method() != Method::POST {
            return Err(Refused::new(Code::MethodNotAllowed, "method not allowed").closing());
        }
        let (head, incoming) = request.into_parts();
        let limit = if opens { INTRODUCTION } else { MESSAGE };
        let bytes = body::read(&head.headers, Body::new(incoming), limit).await?;
        match (path.as_str(), peer) {
            (HELLO, _) => self.hello(mark, address, &bytes),
            (PROVE, _) => self.prove(mark, address, &bytes),
            (path, Some(peer)) => self.message(path, peer, bytes).await,
            (_, None) => Err(Refused::new(Code::Unauthorized, "unauthorized").closing()),
        }
    }

    fn hello(&self, mark: &PeerMark, address: IpAddr, bytes: &[u8]) -> Result<Response, Refused> {
        if !mark.begins() {
            let text = "there was a hello on this connection already";
            return Err(Refused::new(Code::Conflict, text).closing());
        }
        let ask: Ask = body::exact(bytes).map_err(Refused::closing)?;
        let bad = |text: &'static str| Err(Refused::bad(text).closing());
        if ask.name.is_empty() || ask.name.len() > NAME || ask.keys.len() > KEYS {
            return bad("the name is empty or too long, or there are too many keys");
        }
        let Some(asked) = Nonce::parse(&ask.nonce) else {
            return bad("the nonce is not 64 hexadecimal digits");
        };
        let Some(me) = self.links.introduction() else {
            let text = "this coordinator is still starting";
            return Err(Refused::new(Code::Unavailable, text)
                .retry_after(Duration::from_secs(1))
                .closing());
        };
        let secrets = self.links.secrets();
        // Whoever cannot even name the secret gets nothing from which it could be guessed.
        let Some(key) = secrets.shared(&ask.keys) else {
            return Err(self.wrong(address, &ask.name));
        };
        // To oneself it is no replay: whoever finds itself at a URL shall know it.
        let is_self = ask.member == me.member;
        if !is_self && !self.links.nonces().note(asked) {
            let text = "the nonce was used before";
            return Err(Refused::new(Code::Conflict, text).closing());
        }
        let parley = Parley {
            client: ask.member,
            server: me.member,
            asked,
            answered: Nonce::random(),
        };
        if !is_self {
            mark.greeted(Greeted {
                claims: Proven {
                    member: ask.member,
                    name: ask.name,
                    protocol: ask.protocol,
                    cluster: ask.cluster,
                    address,
                },
                parley,
                key: key.id.clone(),
            });
        }
        let side = match is_self && !self.links.nonces().is_own(asked) {
            true => Side::Twin,
            false => Side::Server,
        };
        let proof = parley.proof(key, side);
        let answer = Answer::of(me, parley.answered.text(), key.id.clone(), proof);
        Ok(Reply::new(answer).into_response())
    }

    fn prove(&self, mark: &PeerMark, address: IpAddr, bytes: &[u8]) -> Result<Response, Refused> {
        let Some(greeted) = mark.owes() else {
            let text = "a proof comes once, and after a hello";
            return Err(Refused::new(Code::Conflict, text).closing());
        };
        let shown: Prove = body::exact(bytes).map_err(Refused::closing)?;
        let secrets = self.links.secrets();
        let key = secrets.shared(std::slice::from_ref(&greeted.key));
        let Some(key) = key.filter(|key| greeted.parley.is_proof(key, Side::Client, &shown.proof))
        else {
            return Err(self.wrong(address, &greeted.claims.name));
        };
        let me = self.links.introduction();
        if me.is_some_and(|me| self.sought.by(&greeted.claims, &me)) {
            tracing::warn!(
                by = greeted.claims.name, %address,
                "a cluster looks for a member here, and this coordinator serves a queue of its own: whoever was told of \
                 both finds two queues. If this is that member and lost its database, stop it, move what it has now \
                 away and start it with SKYCLAW_PEER_URLS; if not, `skyclaw peer remove` the old one there"
            );
        }
        mark.believe(greeted.claims, greeted.parley.session(key));
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    /// Tells whether it is time to complain once more: whoever is set up wrongly tries again and again.
    fn says(&self) -> bool {
        let now = Instant::now();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let again = said.is_none_or(|said| now.duration_since(said) >= SAID_EACH);
        if again {
            *said = Some(now);
        }
        again
    }

    /// Counts a wrong proof.
    fn wrong(&self, address: IpAddr, name: &str) -> Refused {
        if self.guesses.wrong(address) {
            return Refused::new(Code::TooMany, "too many wrong proofs")
                .retry_after(Duration::from_secs(1))
                .closing();
        }
        if self.says() {
            tracing::warn!(
                %address,
                name,
                "a coordinator wanted to talk as a member and does not know the secret of this cluster"
            );
        }
        let text = if self.links.secrets().is_open() {
            "this coordinator has no secret: give it the token or the cluster secret of the others"
        } else {
            "this is not the secret of this cluster: members need the same token or cluster secret"
        };
        Refused::new(Code::Unauthorized, text).closing()
    }

    async fn message(
        &self,
        path: &str,
        peer: Arc<Proven>,
        bytes: Bytes,
    ) -> Result<Response, Refused> {
        let known = [Kind::Append, Kind::Vote, Kind::Snapshot];
        let name = path.strip_prefix("/raft/").unwrap_or_default();
        if let Some(kind) = known.into_iter().find(|kind| kind.path() == name) {
            let answer = self.receiver.receive(kind, bytes.into()).await?;
            return Ok(octets(answer));
        }
        match self.routes.get(path) {
            Some(route) => Ok(route(peer, bytes).await),
            None => Err(Refused::new(Code::NotFound, "not found")),
        }
    }
}

fn octets(bytes: Vec<u8>) -> Response {
    let kind = [("content-type", "application/octet-stream")];
    (kind, bytes).into_response()
}
