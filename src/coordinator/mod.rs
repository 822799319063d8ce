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
mod front;
mod gateways;
mod keys;
mod leases;
mod means;
mod news;
mod notify;
mod office;
mod patient;
mod plenty;
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

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, mpsc};

pub use self::auth::Tokens;
pub use self::caller::{Caller, Said};
pub use self::doors::{Doors, Stream, Visitor};
pub use self::front::Front;
pub use self::keys::Keys;
pub use self::notify::{Hooks, Webhook};
pub use self::services::reach::{Reach, Ways};
pub use self::settings::Settings;
pub use self::socket::{OwnersSocket, SocketError};
use crate::protocol::api::Event;
use crate::protocol::{HostId, JobId};
use crate::queue::{self, Claimed, HostEntry, Queue};
use crate::support::clock::Timestamp;
use crate::support::parts::Parts;
use crate::support::shutdown::Shutdown;

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
    /// What makes it a member of a cluster, now or later; without it, it stays alone.
    pub cluster: Option<cluster::Membership>,
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
    /// What keeps it in step with the other members of its cluster has died, so it serves no more. What was
    /// acknowledged is safe. Started again it may go on, once the cause is gone.
    #[error("this member of the cluster cannot go on: {why}")]
    Cluster {
        /// What happened, and where.
        why: String,
    },
}

/// All that requests share.
pub struct Room {
    queue: Queue,
    settings: Arc<Settings>,
    guesses: Arc<auth::Guesses>,
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
    plenty: plenty::Plenty,
    limits: fails::Limits,
    shares: api::share::Shares,
    /// Jobs that ended, for whoever is to be told; nothing if nobody is.
    ended: Option<mpsc::Sender<JobId>>,
    storage: storage::Storage,
    paused: AtomicBool,
    /// Something may be due earlier than was thought.
    alarm: Notify,
    /// Nothing new is begun; streams and waits end.
    closing: tokio::sync::watch::Sender<bool>,
    started: tokio::time::Instant,
    cluster: Option<cluster::Membership>,
    on_event: Option<Arc<OnEvent>>,
}

impl Room {
    fn now(&self) -> Timestamp {
        self.queue.now()
    }

    /// Tells whether there are other coordinators that go on when this one does not.
    fn has_others(&self) -> bool {
        self.cluster.as_ref().is_some_and(|membership| {
            membership
                .cluster
                .watch()
                .borrow()
                .voters()
                .nth(1)
                .is_some()
        })
    }

    /// Returns what knows who belongs to the cluster, if this can be in one.
    fn members(&self) -> Option<&Arc<cluster::Members>> {
        self.cluster.as_ref()?.members.as_ref()
    }

    /// Takes note of what was put into the queue beside all rules.
    async fn took_over(&self) -> Result<(), queue::Error> {
        self.presence.remember(self.queue.hosts().await?);
        self.services_changed(&self.queue.services().await?);
        Ok(())
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
        for one in self.leases.given(given) {
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
        self.look().await
    }

    /// Notes what is held. Returns the hosts that the queue remembers.
    async fn look(&self) -> Result<Vec<HostEntry>, queue::Error> {
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
    let front = load(deps).await?;
    serve(front, doors, shutdown).await
}

/// Reads what the queue remembers and prepares to serve it. Every lease gets a fresh lease time.
///
/// # Errors
/// When the queue cannot be read or written.
pub async fn load(deps: Deps) -> Result<Front, Error> {
    Front::open(deps).await.map_err(Error::Load)
}

/// Serves whoever comes through `doors`, such as one TCP listener, until `shutdown`, then lets open
/// requests finish.
///
/// # Errors
/// When a part of it panics, or what keeps it in step with its cluster dies. What is open is cut off then: half a
/// coordinator is worse than none.
pub async fn serve(front: Front, doors: impl Into<Doors>, shutdown: Shutdown) -> Result<(), Error> {
    let parts = front.parts();
    let cluster = front
        .membership()
        .map(|membership| membership.cluster.clone());
    let died = async {
        match &cluster {
            Some(cluster) => what_to_do(cluster.failed().await, &cluster.status()),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // First: nothing is served by a member that cannot keep in step.
        biased;
        why = died => Err(Error::Cluster { why }),
        part = parts.failed() => Err(Error::Part { part }),
        served = front::serve(front, doors.into(), shutdown) => served,
    }
}

/// Adds to what has died what follows from it.
fn what_to_do(why: String, status: &queue::cluster::Status) -> String {
    let safe = match status.role {
        queue::cluster::Role::Lone => "What was acknowledged is in its file",
        _ => "What was acknowledged is safe with the majority of its cluster",
    };
    format!(
        "{why}. {safe}: start it again when the cause is gone; a member whose files are damaged is started with an \
         empty database and joins as a new one"
    )
}
