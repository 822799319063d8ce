//! What rooms are made of. A member of a cluster makes a new one each time it becomes the leader.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{Notify, mpsc};

use super::cluster::Membership;
use super::office::{News, Office};
use super::{
    Deps, OnEvent, Room, Settings, alone, api, auth, backlog, fails, feed, gateways, leases,
    notify, plenty, presence, services, storage, streams, waiting, watch,
};
use crate::protocol::JobId;
use crate::protocol::api::ServiceRecord;
use crate::queue::cluster::Role;
use crate::queue::{self, Queue};
use crate::support::parts::Parts;

/// What every room of this coordinator shares with the one before.
#[derive(Clone)]
pub struct Means {
    pub queue: Queue,
    pub settings: Arc<Settings>,
    pub parts: Parts,
    pub cluster: Option<Membership>,
    /// Whoever guesses does so at all rooms.
    guesses: Arc<auth::Guesses>,
    on_event: Option<Arc<OnEvent>>,
}

/// What a room begins with.
#[derive(Default)]
struct Beginning {
    queued: u64,
    services: Vec<ServiceRecord>,
    paused: bool,
}

impl Means {
    pub fn new(deps: Deps) -> Self {
        Self {
            queue: deps.queue,
            settings: Arc::new(deps.settings),
            parts: Parts::default(),
            cluster: deps.cluster,
            guesses: Arc::default(),
            on_event: deps.on_event.map(Arc::new),
        }
    }

    /// Reads what the queue remembers into a new room. Every lease gets a fresh lease time.
    ///
    /// # Errors
    /// When the queue cannot be read or written.
    pub async fn load(&self) -> Result<Office, queue::Error> {
        // Before anything is read: what changes after that is heard of.
        let changes = self.queue.changes();
        let counts = self.queue.counts().await?;
        let beginning = Beginning {
            queued: counts.queued,
            services: self.queue.services().await?,
            paused: self.queue.paused().await?,
        };
        let (tell, ended) = mpsc::channel(notify::WAITING);
        let room = self.room(beginning, Some(tell));
        // Before anything can run out: nobody could renew while nobody listened.
        let hosts = room.reprieve().await?;
        room.presence.remember(hosts);
        Ok(Office::new(Arc::new(room), News { changes, ended }))
    }

    fn room(&self, beginning: Beginning, ended: Option<mpsc::Sender<JobId>>) -> Room {
        Room {
            guesses: Arc::clone(&self.guesses),
            leases: leases::Leases::default(),
            presence: presence::Presence::default(),
            waiting: waiting::Waiting::default(),
            watch: watch::Watch::default(),
            avoiding: alone::Avoiding::default(),
            streams: streams::Streams::default(),
            parts: self.parts.clone(),
            feed: feed::Feed::default(),
            desk: services::Desk::of(beginning.services),
            gateways: gateways::Registry::default(),
            backlog: backlog::Backlog::new(self.settings.max_queued, beginning.queued),
            plenty: plenty::Plenty::default(),
            limits: fails::Limits::default(),
            shares: api::share::Shares::default(),
            ended: ended.filter(|_| !self.settings.hooks.is_empty()),
            storage: storage::Storage::default(),
            paused: AtomicBool::new(beginning.paused),
            alarm: Notify::new(),
            closing: tokio::sync::watch::channel(false).0,
            started: tokio::time::Instant::now(),
            queue: self.queue.clone(),
            settings: Arc::clone(&self.settings),
            cluster: self.cluster.clone(),
            on_event: self.on_event.clone(),
        }
    }

    /// Tells whether there are no others, as far as is known.
    pub fn is_lone(&self) -> bool {
        self.cluster
            .as_ref()
            .is_none_or(|membership| membership.cluster.status().role == Role::Lone)
    }

    /// Returns a room in which nobody works and nothing waits: for looking at what the queue has.
    pub fn reading(&self) -> Room {
        let mut room = self.room(Beginning::default(), None);
        room.presence = presence::Presence::blind();
        room.closing.send_replace(true);
        room
    }

    /// Returns the same, which knows besides of the hosts and leases in the queue.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn remembering(&self) -> Result<Room, queue::Error> {
        let room = self.reading();
        let hosts = room.look().await?;
        room.presence.remember(hosts);
        Ok(room)
    }
}
