//! The HTTP API over the queue: old hosts and clients, our own, the public API.
//!
//! A service that is handed its queue, its listener and its stop signal; it prints nothing. What is
//! answered 200 is on disk. Hosts of the network are told apart by id only and trusted by the shared
//! token; those that come through a tunnel are known by it and may act for themselves only.

mod admission;
mod alone;
pub mod api;
mod auth;
mod backlog;
mod caller;
pub mod cluster;
mod connections;
mod dispatch;
mod doors;
mod fails;
mod feed;
mod gateways;
mod keys;
mod leases;
mod news;
mod notify;
mod patient;
mod presence;
mod rank;
mod services;
mod settings;
mod socket;
mod storage;
mod streams;
mod sweep;
mod waiting;
mod watch;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

pub use self::auth::Tokens;
pub use self::caller::{Caller, Said};
pub use self::doors::{Doors, Stream, Visitor};
pub use self::keys::Keys;
pub use self::notify::{Hooks, Webhook};
pub use self::settings::Settings;
pub use self::socket::{OwnersSocket, SocketError};
use crate::protocol::api::Event;
use crate::protocol::{HostId, JobId};
use crate::queue::{self, Claimed, HostEntry, Queue};
use crate::support::clock::Timestamp;
use crate::support::parts::Parts;
use crate::support::shutdown::{Shutdown, Urgency};

use api::error::Refused;

/// Is told of events; must not block.
pub type OnEvent = Box<dyn Fn(&Event) + Send + Sync>;

/// What a coordinator works with.
pub struct Deps {
    /// Where the jobs are.
    pub queue: Queue,
    /// How it behaves.
    pub settings: Settings,
    /// Told of each event after it is in the stream; must not block.
    pub on_event: Option<OnEvent>,
}

/// What went wrong so that the coordinator could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the queue remembers could not be read or prolonged at the start.
    #[error("load the coordinator's state")]
    Load(#[source] queue::Error),
    /// A part of it panicked while it served, so it serves no more. Started again it may go on; nothing that was
    /// answered is lost.
    #[error("a part of the coordinator has failed: {part}")]
    Part {
        /// Which.
        part: &'static str,
    },
}

/// All that requests share.
pub struct Room {
    queue: Queue,
    settings: Settings,
    guesses: auth::Guesses,
    leases: leases::Leases,
    presence: presence::Presence,
    waiting: waiting::Waiting,
    watch: watch::Watch,
    avoiding: alone::Avoiding,
    streams: streams::Streams,
    parts: Parts,
    feed: feed::Feed,
    desk: services::Desk,
    gateways: gateways::Registry,
    backlog: backlog::Backlog,
    limits: fails::Limits,
    shares: api::share::Shares,
    /// Jobs that ended, for whoever is to be told; nothing if nobody is.
    ended: Option<mpsc::Sender<JobId>>,
    to_tell: Mutex<Option<mpsc::Receiver<JobId>>>,
    storage: storage::Storage,
    paused: AtomicBool,
    /// Something may be due earlier than was thought.
    alarm: Notify,
    /// Nothing new is begun; streams and waits end.
    closing: tokio::sync::watch::Sender<bool>,
    started: tokio::time::Instant,
    on_event: Option<OnEvent>,
}

impl Room {
    fn now(&self) -> Timestamp {
        self.queue.now()
    }

    fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Tells whether `host` may be given work now.
    fn may_work(&self, host: &HostId) -> bool {
        !self.is_paused() && self.presence.is_active(host)
    }

    /// Returns how a host stands among those that wait for work.
    fn standing(&self, host: &HostId) -> rank::Standing {
        self.presence.standing(host, self.leases.count(host))
    }

    /// Takes note that `host` holds fewer leases than before.
    fn relieved(&self, host: &HostId) {
        self.waiting.relieved(host, self.standing(host));
    }

    /// Refuses because the queue failed, and remembers if that is the storage's fault.
    fn refuse(&self, error: queue::Error) -> Refused {
        self.storage.failed(&error);
        error.into()
    }

    /// Takes note of leases that were given.
    fn took(&self, given: &[Claimed]) {
        self.leases.given(given);
        for one in given {
            self.tell(Event::JobLeased {
                at: one.expires_at.minus(one.lease_for),
                job_id: one.job,
                attempt: one.attempt,
                host_id: one.host.clone(),
            });
        }
    }

    /// Gives every lease a fresh lease time and notes what is held. Returns the hosts that the queue remembers.
    async fn reprieve(&self) -> Result<Vec<HostEntry>, queue::Error> {
        self.queue.reprieve().await?;
        let hosts = self.queue.hosts().await?;
        for entry in &hosts {
            let id = &entry.host.id;
            let held = self.queue.leases_of(id.clone()).await?;
            self.leases.found(id, &held);
        }
        Ok(hosts)
    }

    /// Tells whoever listens.
    fn tell(&self, event: Event) {
        if let Some(hook) = &self.on_event {
            hook(&event);
        }
        self.feed.push(event);
    }
}

/// Serves whoever comes through `doors`, such as one TCP listener, until `shutdown`, then lets open
/// requests finish.
///
/// # Errors
/// When the state cannot be loaded; nothing was served then. As [`serve`] does.
pub async fn run(deps: Deps, doors: impl Into<Doors>, shutdown: Shutdown) -> Result<(), Error> {
    let room = load(deps).await?;
    serve(room, doors, shutdown).await
}

/// Serves whoever comes through `doors`, such as one TCP listener, until `shutdown`, then lets open
/// requests finish.
///
/// # Errors
/// When a part of it panics. What is open is cut off then: half a coordinator is worse than none.
pub async fn serve(
    room: Arc<Room>,
    doors: impl Into<Doors>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let parts = room.parts.clone();
    tokio::select! {
        () = serve_whole(room, doors.into(), shutdown) => Ok(()),
        part = parts.failed() => Err(Error::Part { part }),
    }
}

async fn serve_whole(room: Arc<Room>, doors: Doors, mut shutdown: Shutdown) {
    let router = api::router(Arc::clone(&room));
    let mut tasks = JoinSet::new();
    let parts = &room.parts;
    let changes = room.queue.changes();
    tasks.spawn(parts.watched("news", news::run(Arc::clone(&room), changes)));
    tasks.spawn(parts.watched("the dispatcher", dispatch::run(Arc::clone(&room))));
    tasks.spawn(parts.watched("what ends leases", sweep::expire(Arc::clone(&room))));
    tasks.spawn(parts.watched("what removes old jobs", sweep::prune(Arc::clone(&room))));
    tasks.spawn(parts.watched("the watch over hosts", sweep::presence(Arc::clone(&room))));
    let services = services::reconcile::run(Arc::clone(&room));
    tasks.spawn(parts.watched("what places services", services));
    let to_tell = room
        .to_tell
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(ended) = to_tell.filter(|_| room.ended.is_some()) {
        let hooks = room.settings.hooks.clone();
        let telling = notify::run(Arc::clone(&room), hooks, ended);
        tasks.spawn(parts.watched("the notifier", telling));
    }
    let connections = connections::accept(&room, doors, &router, shutdown.clone()).await;
    close(&room);
    tokio::select! {
        () = connections::finish(connections) => {}
        () = shutdown.reached(Urgency::Now) => {}
    }
    tasks.shutdown().await;
}

/// Ends streams and waits. Many hosts that wait are told one after another, so that they do not all
/// come to the next coordinator at the same moment.
fn close(room: &Arc<Room>) {
    room.closing.send_replace(true);
    room.watch.wake_all();
    room.desk.nudge_all();
    let waiters = room.waiting.close();
    let spread = std::time::Duration::from_millis(5) * u32::try_from(waiters.len()).unwrap_or(0);
    let step = spread.min(std::time::Duration::from_secs(5)) / (waiters.len().max(1) as u32);
    tokio::spawn(async move {
        for waiter in waiters {
            let _ = waiter.send(waiting::Wake::Nothing);
            tokio::time::sleep(step).await;
        }
    });
}

/// Reads what the queue remembers and prepares to serve it. Every lease gets a fresh lease time.
///
/// # Errors
/// When the queue cannot be read or written.
pub async fn load(deps: Deps) -> Result<Arc<Room>, Error> {
    let Deps {
        queue,
        settings,
        on_event,
    } = deps;
    let counts = queue.counts().await.map_err(Error::Load)?;
    let services = queue.services().await.map_err(Error::Load)?;
    let paused = queue.paused().await.map_err(Error::Load)?;
    let (ended, to_tell) = mpsc::channel(notify::WAITING);
    let room = Room {
        guesses: auth::Guesses::default(),
        leases: leases::Leases::default(),
        presence: presence::Presence::default(),
        waiting: waiting::Waiting::default(),
        watch: watch::Watch::default(),
        avoiding: alone::Avoiding::default(),
        streams: streams::Streams::default(),
        parts: Parts::default(),
        feed: feed::Feed::default(),
        desk: services::Desk::of(services),
        gateways: gateways::Registry::default(),
        backlog: backlog::Backlog::new(settings.max_queued, counts.queued),
        limits: fails::Limits::default(),
        shares: api::share::Shares::default(),
        ended: (!settings.hooks.is_empty()).then_some(ended),
        to_tell: Mutex::new(Some(to_tell)),
        storage: storage::Storage::default(),
        paused: AtomicBool::new(paused),
        alarm: Notify::new(),
        closing: tokio::sync::watch::channel(false).0,
        started: tokio::time::Instant::now(),
        queue,
        settings,
        on_event,
    };
    // Before anything can run out: nobody could renew while nobody listened.
    let hosts = room.reprieve().await.map_err(Error::Load)?;
    room.presence.remember(hosts);
    Ok(Arc::new(room))
}
