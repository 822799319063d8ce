//! Members of a cluster in this process, each on a runtime of its own: dropping that is a kill, as far as others see.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use skyclaw::coordinator::cluster::{Introduction, Links, Membership, PeerDoor, Receiver, Secrets};
use skyclaw::coordinator::{self, Deps, Doors, OwnersSocket, Settings};
use skyclaw::queue::cluster::{
    Carrier, CarryError, Cluster, Kind, Member as Known, MemberId, PROTOCOL, Role, Status,
};
use skyclaw::queue::{self, Options, Queue};
use skyclaw::support::clock::{Clock, SystemClock};
use skyclaw::support::shutdown::{self, Cause, Trigger};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

pub use crate::room::{Got, SOON, client, done, events_until};

/// Several coordinators.
pub struct Net {
    pub members: Vec<Member>,
}

/// One coordinator. Dropping it kills it.
pub struct Member {
    pub base: String,
    pub client: Client,
    name: String,
    port: u16,
    dir: Arc<tempfile::TempDir>,
    wire: Wire,
    set: fn(&mut Settings),
    alive: Option<Alive>,
}

struct Alive {
    cluster: Cluster,
    trigger: Trigger,
    serving: JoinHandle<Result<(), coordinator::Error>>,
    runtime: Option<Runtime>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The wire between a member and the others, as far as the log is concerned. It can be cut.
#[derive(Clone, Default)]
struct Wire(Arc<AtomicBool>);

impl Wire {
    fn is_cut(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What goes out over it.
struct Out(Links, Wire);

impl Carrier for Out {
    fn carry(
        &self,
        to: MemberId,
        at: &Known,
        kind: Kind,
        body: Vec<u8>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, CarryError>> {
        if self.1.is_cut() {
            return Box::pin(async { Err(CarryError::Unreachable("cut".to_owned())) });
        }
        self.0.carry(to, at, kind, body, within)
    }
}

/// What comes in over it.
struct In(Cluster, Wire);

impl Receiver for In {
    fn receive(&self, kind: Kind, body: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, queue::Error>> {
        if self.1.is_cut() {
            return Box::pin(std::future::pending());
        }
        Box::pin(self.0.receive(kind, body))
    }
}

/// How a member begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// As what its files say: alone if they are new.
    AsItWas,
    /// Waiting to be taken in.
    Waiting,
}

impl Member {
    /// Starts one with new files.
    pub async fn new(name: &str, begins: Begins, set: fn(&mut Settings)) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut member = Self {
            base: format!("http://127.0.0.1:{port}"),
            client: client(),
            name: name.to_owned(),
            port,
            dir: Arc::new(tempfile::tempdir().unwrap()),
            wire: Wire::default(),
            set,
            alive: None,
        };
        member.start(begins).await;
        member
    }

    /// Starts it, again with the same files at the same place.
    pub async fn start(&mut self, begins: Begins) {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (db, socket) = (self.dir.path().join("coordinator.db"), self.socket());
        let (name, wire, port) = (self.name.clone(), self.wire.clone(), self.port);
        let mut settings = Settings::new(name.clone());
        (self.set)(&mut settings);
        let started = runtime.spawn(async move {
            let links = Links::new(Secrets::of(None, &settings.tokens));
            let out = Arc::new(Out(links.clone(), wire.clone()));
            let (queue, cluster) = Queue::open_member(Options::new(db), out).unwrap();
            let status = cluster.watch();
            links.introduce(move || {
                Introduction::of(&status.borrow(), &name, PROTOCOL, SystemClock.now())
            });
            if begins == Begins::Waiting {
                cluster.wait_for_adoption().await.unwrap();
            }
            let door = PeerDoor::new(&links, In(cluster.clone(), wire));
            let deps = Deps {
                queue,
                settings,
                on_event: None,
                cluster: Some(Membership {
                    cluster: cluster.clone(),
                    links,
                    door: Arc::new(door),
                    members: None,
                }),
            };
            let doors = Doors {
                tcp: vec![TcpListener::bind(("127.0.0.1", port)).await.unwrap()],
                unix: Some(OwnersSocket::open(&socket).unwrap()),
                streams: None,
            };
            let (trigger, shutdown) = shutdown::manual();
            let front = coordinator::load(deps).await.unwrap();
            let serving = tokio::spawn(coordinator::serve(front, doors, shutdown));
            (cluster, trigger, serving)
        });
        let (cluster, trigger, serving) = started.await.unwrap();
        self.alive = Some(Alive {
            cluster,
            trigger,
            serving,
            runtime: Some(runtime),
        });
    }

    /// Ends it without a word, as a kill does.
    pub async fn kill(&mut self) {
        let mut alive = self.alive.take().expect("it is alive");
        let runtime = alive.runtime.take().unwrap();
        drop(alive);
        // Waits until nothing of it is left, so that its files can be opened again.
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(SOON))
            .await
            .unwrap();
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(&mut self) {
        let mut alive = self.alive.take().expect("it is alive");
        alive.trigger.ask(Cause::Terminate);
        let ended = tokio::time::timeout(SOON, &mut alive.serving).await;
        ended.expect("it ends").unwrap().unwrap();
        let runtime = alive.runtime.take().unwrap();
        drop(alive);
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(SOON))
            .await
            .unwrap();
    }

    /// Cuts its wire to the others, or mends it.
    pub fn cut(&self, cut: bool) {
        self.wire.0.store(cut, Ordering::SeqCst);
    }

    /// Makes a cluster of one of it. On its own runtime, where what works for it must live.
    pub async fn found(&self) {
        let alive = self.alive.as_ref().expect("it is alive");
        let (cluster, known) = (alive.cluster.clone(), self.known());
        let runtime = alive.runtime.as_ref().unwrap();
        let founded = runtime.spawn(async move { cluster.found(known).await });
        founded.await.unwrap().unwrap();
    }

    pub fn is_alive(&self) -> bool {
        self.alive.is_some()
    }

    pub fn cluster(&self) -> &Cluster {
        &self.alive.as_ref().expect("it is alive").cluster
    }

    pub fn status(&self) -> Status {
        self.cluster().status()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its owner comes in.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("coordinator.sock")
    }

    /// What the others are told of it.
    pub fn known(&self) -> Known {
        Known {
            url: self.base.clone(),
            name: self.name.clone(),
            protocol: PROTOCOL,
            ..Known::default()
        }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub async fn get(&self, path: &str) -> Got {
        Got::of(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Got {
        Got::of(self.request(Method::POST, path).body(body.to_string())).await
    }

    pub async fn post_keyed(&self, path: &str, key: &str, body: Value) -> Got {
        let request = self.request(Method::POST, path);
        let request = request.header("x-idempotency-key", key);
        Got::of(request.body(body.to_string())).await
    }

    /// Registers a host that runs shell jobs.
    pub async fn host(&self, id: &str) -> Value {
        let body = json!({"name": id, "hostId": id, "capabilities": ["shell"], "maxParallel": 4});
        self.post("/v1/hosts/register", body).await.ok()
    }

    /// Submits a job; returns its id.
    pub async fn submit(&self) -> String {
        id(&self.post("/v1/jobs", job()).await.ok())
    }

    /// Claims one job for `host`; returns what it is given.
    pub async fn claim(&self, host: &str) -> Value {
        let path = format!("/v1/hosts/{host}/claim");
        self.post(&path, json!({})).await.ok()["job"].clone()
    }
}

/// A job to submit.
pub fn job() -> Value {
    json!({"payload": {"kind": "shell", "command": "true"}})
}

/// The id of the job in an answer.
pub fn id(answer: &Value) -> String {
    answer["job"]["id"].as_str().unwrap().to_owned()
}

impl Net {
    /// Starts three that are one.
    pub async fn three() -> Self {
        Self::with(3, |_| {}).await
    }

    /// Starts some that are one and all vote.
    pub async fn with(count: usize, set: fn(&mut Settings)) -> Self {
        let first = Member::new("node_0", Begins::AsItWas, set).await;
        first.found().await;
        let mut net = Self {
            members: vec![first],
        };
        for number in 1..count {
            let name = format!("node_{number}");
            let member = Member::new(&name, Begins::Waiting, set).await;
            net.join(member).await;
        }
        net
    }

    /// Takes one in that waits, and gives it a vote.
    pub async fn join(&mut self, member: Member) {
        let leader = self.leader().await;
        let cluster = self.members[leader].cluster().clone();
        let id = member.status().id;
        cluster.add(id, member.known()).await.unwrap();
        until(async || cluster.promote(id).await.is_ok()).await;
        self.members.push(member);
    }

    /// Waits until those that live and can be reached agree on one of them as their leader, and it serves.
    pub async fn leader(&self) -> usize {
        let mut found = None;
        until(async || {
            found = self.agreed();
            match found {
                Some(leader) => {
                    // Also to say that it wants a token is to serve.
                    self.members[leader].get("/ready").await.status != 503
                }
                None => false,
            }
        })
        .await;
        found.unwrap()
    }

    fn agreed(&self) -> Option<usize> {
        let there = |member: &&Member| member.is_alive() && !member.wire.is_cut();
        let leads = |member: &Member| member.status().role == Role::Leader;
        let leader = self.members.iter().filter(there).position(leads);
        let leader = self.members.iter().filter(there).nth(leader?)?;
        let id = leader.status().id;
        let all = self.members.iter().filter(there);
        let agree = all.map(Member::status).all(|seen| seen.leader == Some(id));
        let place = self
            .members
            .iter()
            .position(|member| member.base == leader.base);
        place.filter(|_| agree)
    }

    /// Returns the leader and two others.
    pub async fn roles(&self) -> (usize, usize, usize) {
        let leader = self.leader().await;
        let mut others = (0..self.members.len()).filter(|at| *at != leader);
        (leader, others.next().unwrap(), others.next().unwrap())
    }
}

/// Waits until something holds.
pub async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + SOON;
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "it never came true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
