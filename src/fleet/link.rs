//! From a host of the fleet to a connection, with a place in the fan-out.
//!
//! A host that does not answer must not hold up the others: until its server has said something it
//! keeps its place for a moment only, then waits on its own and takes a place again when it speaks.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::fleet::file::{Hop, Host};
use crate::ssh::jump::Jumps;
use crate::ssh::{Connection, Error, Settings, Target, connect};
use crate::support::limits::raise_open_files;
use crate::support::tasks;

/// How long a host may be silent before it gives its place to another.
const STEP_ASIDE: Duration = Duration::from_millis(400);

/// Open files we ask for.
const OPEN_FILES: u64 = 65_536;
/// What a host at work has open: its connection and two files of output.
const FILES_PER_HOST: u64 = 3;
/// What the process has open besides.
const OWN_FILES: u64 = 32;

type Place = Mutex<Option<OwnedSemaphorePermit>>;

/// A host that cannot be connected to as the fleet file asks.
#[derive(Debug, thiserror::Error)]
#[error("host {host}: `{field}` is not supported yet")]
pub struct Unsupported {
    host: String,
    field: &'static str,
}

/// The connections of one run.
#[derive(Debug, Clone)]
pub struct Links {
    settings: Settings,
    places: Arc<Semaphore>,
    /// Bounds all connections, also those of silent hosts that hold no place, by the open files allowed.
    sockets: Arc<Semaphore>,
    jumps: Arc<Jumps>,
}

/// A connection and the place it takes among those that work at the same time.
#[derive(Debug)]
pub struct Link {
    /// The connection.
    pub connection: Connection,
    _place: Option<OwnedSemaphorePermit>,
    _socket: Option<OwnedSemaphorePermit>,
}

impl Link {
    /// Gives its place among those that work at the same time to another. The connection stays.
    pub fn step_aside(&mut self) {
        self._place = None;
    }
}

impl Links {
    /// Returns links of which at most `fanout` are in use at once, or fewer if the system does not
    /// allow that many open files; see [`Links::fanout`].
    pub fn new(settings: Settings, fanout: usize) -> Self {
        let allowed = raise_open_files(OPEN_FILES).saturating_sub(OWN_FILES);
        let sockets = usize::try_from(allowed / FILES_PER_HOST)
            .unwrap_or(usize::MAX)
            .clamp(1, Semaphore::MAX_PERMITS);
        Self {
            settings,
            places: Arc::new(Semaphore::new(fanout.clamp(1, sockets))),
            sockets: Arc::new(Semaphore::new(sockets)),
            jumps: Arc::default(),
        }
    }

    /// Returns how many hosts are worked on at once at most. Only true before the first is.
    pub fn fanout(&self) -> usize {
        self.places.available_permits()
    }

    /// Connects to `host` and takes a place.
    ///
    /// # Errors
    /// The last try's; see [`connect::connect`].
    pub async fn open(&self, host: &Host) -> Result<Link, Error> {
        let target = target_of(host);
        // Never closed, so this is always a permit.
        let _socket = Arc::clone(&self.sockets).acquire_owned().await.ok();
        let place = Mutex::new(self.take_place().await);
        let connection = self.connect_aside(&target, &route_of(host), &place).await?;
        let _place = place.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Link {
            connection,
            _place,
            _socket,
        })
    }

    /// Connects while `place` is given away and taken again as the server is silent or speaks.
    async fn connect_aside(
        &self,
        target: &Target,
        route: &[Target],
        place: &Place,
    ) -> Result<Connection, Error> {
        let set = |permit| *place.lock().unwrap_or_else(PoisonError::into_inner) = permit;
        let has = || {
            place
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_some()
        };
        let answered = AtomicBool::new(false);
        let progress = || async {
            answered.store(true, Ordering::Relaxed);
            if !has() {
                set(self.take_place().await);
            }
        };
        let connecting = async {
            let jump = self.jumps.reach(route, &self.settings).await?;
            connect::connect_through(target, &self.settings, jump.as_ref(), progress).await
        };
        tokio::pin!(connecting);
        tokio::select! {
            result = &mut connecting => return result,
            () = tokio::time::sleep(STEP_ASIDE) => {}
        }
        if !answered.load(Ordering::Relaxed) {
            set(None);
        }
        connecting.await
    }

    async fn take_place(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed, so this is always a place.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Does `work` for every host, as many at once as the fan-out allows. Results come back in any
    /// order, each with the position of its host.
    pub async fn each<T, F>(
        &self,
        hosts: &[Arc<Host>],
        work: impl Fn(usize, Arc<Host>, Self) -> F,
        mut done: impl FnMut(usize, T),
    ) where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let mut set = JoinSet::new();
        for (position, host) in hosts.iter().enumerate() {
            let job = work(position, Arc::clone(host), self.clone());
            set.spawn(async move { (position, job.await) });
        }
        tasks::finish(&mut set, |(position, result)| done(position, result)).await;
    }
}

/// Checks that every host can be reached the way the fleet file asks.
///
/// # Errors
/// The first that cannot. Connecting it another way would not be what its owner asked for.
pub fn check(hosts: &[Arc<Host>]) -> Result<(), Unsupported> {
    for host in hosts {
        if host.via.is_some() {
            return Err(Unsupported {
                host: host.name.to_string(),
                field: "via",
            });
        }
    }
    Ok(())
}

/// Tells whether two entries are the same machine, by all that they say.
pub fn is_one_machine(one: &Host, other: &Host) -> bool {
    let place = |host: &Host| {
        let hops = host.route.iter().map(|hop| (hop.host.clone(), hop.port));
        let port = host.port.unwrap_or(Host::DEFAULT_PORT);
        (host.host.clone(), port, hops.collect::<Vec<_>>())
    };
    place(one) == place(other)
}

/// Tells whether two entries are connected to in the same way: a connection by one does for the other.
pub fn is_one_way(one: &Host, other: &Host) -> bool {
    let login = |host: &Host| (target_of(host), route_of(host), host.via.clone());
    login(one) == login(other)
}

/// Returns where and as whom to log in.
pub fn target_of(host: &Host) -> Target {
    Target {
        host: machine(host.host.as_str()),
        port: host.port.unwrap_or(Host::DEFAULT_PORT),
        user: host.user.clone().unwrap_or_else(local_user),
        keys: host.ssh_keys.clone(),
        pinned: host.host_key.clone(),
    }
}

/// Returns the machines to go through, the first one first.
pub fn route_of(host: &Host) -> Vec<Target> {
    let hop = |hop: &Hop| Target {
        host: machine(hop.host.as_str()),
        port: hop.port.unwrap_or(Host::DEFAULT_PORT),
        user: hop.user.clone().unwrap_or_else(local_user),
        keys: hop.ssh_keys.clone(),
        pinned: hop.host_key.clone(),
    };
    host.route.iter().map(hop).collect()
}

/// Returns an address as a resolver takes it.
fn machine(address: &str) -> String {
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    bare.parse::<IpAddr>()
        .map_or_else(|_| bare.to_owned(), |ip| ip.to_string())
}

/// Returns the name of the user who runs this process.
pub fn local_user() -> String {
    ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| "root".into())
}
