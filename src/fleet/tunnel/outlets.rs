//! Ports of this machine that lead to services on hosts behind tunnels, through the SSH connection under each tunnel.
//!
//! One is open for as long as its host says that the service is there and the tunnel is up. It is on the loopback
//! address: whoever is on this machine can use it, as they could the service itself if it ran here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::fleet::file::HostName;
use crate::protocol::HostId;
use crate::ssh::forward::{Dialer, Stream};
use crate::ssh::{self, Connection};
use crate::support::chain::chain;

/// A host that has not said for so long that a service is there does not say so any more. It says so every few seconds.
const HEARD_WITHIN: Duration = Duration::from_secs(60);
/// How many ports one host may have open here,
const MOST_PORTS: usize = 256;
/// and how many streams through all of them. Who comes then waits.
const MOST_STREAMS: usize = 512;
/// How long a host may take to connect to its own port.
const DIAL_WITHIN: Duration = Duration::from_secs(10);
/// After the system refused a connection, which it does when files run out.
const BREATH: Duration = Duration::from_millis(50);

/// The open ports of all hosts whose tunnels are up.
#[derive(Debug, Clone, Default)]
pub struct Outlets(Arc<Mutex<BTreeMap<String, Line>>>);

/// What leads to one host.
#[derive(Debug)]
struct Line {
    way: Way,
    open: BTreeMap<(HostId, u16), Outlet>,
}

#[derive(Debug, Clone)]
struct Way {
    dialer: Dialer,
    places: Arc<Semaphore>,
    /// Why its server leads nowhere, once that is known.
    refused: Arc<OnceLock<String>>,
}

/// One open port. Streams that go through it outlive it.
#[derive(Debug)]
struct Outlet {
    address: SocketAddr,
    heard: watch::Sender<Instant>,
    task: AbortHandle,
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A host whose tunnel is up, as long as this value lives.
#[derive(Debug)]
pub(super) struct Up {
    outlets: Outlets,
    host: HostName,
    places: Arc<Semaphore>,
}

impl Drop for Up {
    fn drop(&mut self) {
        let mut lines = self.outlets.lines();
        let line = lines.get(self.host.as_str());
        // A new tunnel may have taken its place.
        if line.is_some_and(|line| Arc::ptr_eq(&line.way.places, &self.places)) {
            lines.remove(self.host.as_str());
        }
    }
}

impl Outlets {
    fn lines(&self) -> MutexGuard<'_, BTreeMap<String, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets ports lead to `host` for as long as the value lives that is returned.
    pub(super) fn up(&self, host: &HostName, connection: &Connection) -> Up {
        let way = Way {
            dialer: connection.dialer(),
            places: Arc::new(Semaphore::new(MOST_STREAMS)),
            refused: Arc::default(),
        };
        let places = Arc::clone(&way.places);
        let line = Line {
            way,
            open: BTreeMap::new(),
        };
        self.lines().insert(host.to_string(), line);
        Up {
            outlets: self.clone(),
            host: host.clone(),
            places,
        }
    }

    /// Has exactly these ports of `holder`, a daemon on `host`, reachable from this machine. Returns where each is; one
    /// that cannot be had is missing. To be said again every few seconds, within a runtime.
    ///
    /// # Errors
    /// Why no port of the host can be reached.
    pub fn lead(
        &self,
        host: &str,
        holder: &HostId,
        ports: &BTreeSet<u16>,
    ) -> Result<BTreeMap<u16, SocketAddr>, String> {
        let mut lines = self.lines();
        let Some(line) = lines.get_mut(host) else {
            return Err("the tunnel of its host is down".to_owned());
        };
        if let Some(why) = line.way.refused.get() {
            let why = why.clone();
            line.open.clear();
            return Err(why);
        }
        line.open.retain(|(of, port), outlet| {
            let lives = !outlet.task.is_finished();
            lives && (of != holder || ports.contains(port))
        });
        let mut places = BTreeMap::new();
        for port in ports {
            let key = (holder.clone(), *port);
            if !line.open.contains_key(&key) && line.open.len() < MOST_PORTS {
                match Outlet::open(*port, line.way.clone()) {
                    Ok(outlet) => {
                        line.open.insert(key.clone(), outlet);
                    }
                    Err(error) => {
                        tracing::warn!(host, port, %error, "cannot open a port for a service");
                    }
                }
            }
            if let Some(outlet) = line.open.get(&key) {
                outlet.heard.send_replace(Instant::now());
                places.insert(*port, outlet.address);
            }
        }
        Ok(places)
    }
}

impl Outlet {
    fn open(port: u16, way: Way) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let (heard, hears) = watch::channel(Instant::now());
        let task = tokio::spawn(async move {
            // Whether the server forwards at all is better known before somebody calls.
            let first = way.clone();
            tokio::spawn(async move { first.dial(port).await });
            serve(&listener, port, &way, &hears).await;
        });
        Ok(Self {
            address,
            heard,
            task: task.abort_handle(),
        })
    }
}

/// Takes connections for as long as the service is there.
async fn serve(listener: &TcpListener, port: u16, way: &Way, heard: &watch::Receiver<Instant>) {
    loop {
        let Ok(place) = Arc::clone(&way.places).acquire_owned().await else {
            return;
        };
        let accepted = loop {
            let until = *heard.borrow() + HEARD_WITHIN;
            match timeout_at(until, listener.accept()).await {
                Ok(accepted) => break accepted,
                Err(_) if *heard.borrow() + HEARD_WITHIN <= Instant::now() => return,
                Err(_) => {}
            }
        };
        match accepted {
            Ok((stream, _)) => {
                let way = way.clone();
                tokio::spawn(async move {
                    way.carry(stream, port).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to a service could not be accepted");
                sleep(BREATH).await;
            }
        }
    }
}

impl Way {
    async fn dial(&self, port: u16) -> Option<Stream> {
        let error = match timeout(DIAL_WITHIN, self.dialer.dial(port)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => error,
            Err(_) => return None,
        };
        if let ssh::Error::Tcp { source, .. } = &error
            && source.kind() == io::ErrorKind::PermissionDenied
        {
            let _ = self
                .refused
                .set(format!("the host's sshd says no: {source}"));
        }
        tracing::debug!(port, error = %chain(&error), "a host does not connect to its own port");
        None
    }

    async fn carry(&self, mut here: TcpStream, port: u16) {
        let _ = here.set_nodelay(true);
        let whole = match self.dial(port).await {
            Some(mut there) => copy_bidirectional(&mut here, &mut there).await.is_ok(),
            None => false,
        };
        if !whole {
            // An orderly end would make half an answer look like a whole one.
            let _ = rustix::net::sockopt::set_socket_linger(&here, Some(Duration::ZERO));
        }
    }
}
