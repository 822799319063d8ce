//! The coordinator inside the controller: its queue and its doors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::Args;
use crate::cli::coordinator::serving;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::given::Given;
use crate::cli::output::Output;
use crate::client::{self, Client, DEFAULT_URL, unix_url};
use crate::coordinator::{
    self, Caller, Deps, Doors, OwnersSocket, Reach, Said, Tokens, Visitor, Ways,
};
use crate::fleet::controller::Place;
use crate::fleet::file::{Host, HostName};
use crate::fleet::seat::ControllerId;
use crate::fleet::tunnel::{Outlets, Visit};
use crate::protocol::HostId;
use crate::queue::{self, Queue};
use crate::support::parts::Parts;
use crate::support::secret::Secret;
use crate::support::shutdown::{self, Cause, Trigger};

/// How long open requests may take at the end.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
/// The port of a coordinator.
const PORT: u16 = 8787;
/// How many streams out of tunnels may wait to be served.
const VISITS: usize = 64;

/// What the fleet file says of hosts that come through tunnels.
#[derive(Debug, Clone, Default)]
pub struct Guests(Arc<Mutex<BTreeMap<HostName, Arc<Host>>>>);

impl Guests {
    /// Takes over what the fleet file says.
    pub fn are(&self, hosts: &[Arc<Host>]) {
        let hosts = hosts
            .iter()
            .map(|host| (host.name.clone(), Arc::clone(host)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = hosts.collect();
    }

    /// Says who is at the other end of a host's tunnel.
    fn caller(&self, host: &HostName, token: Option<Secret>) -> Caller {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = hosts.get(host);
        Caller::Host {
            name: host.to_string(),
            may_submit: entry.is_some_and(|host| host.tunnel_submit),
            said: Some(entry.map_or_else(
                // It has just left the fleet; its tunnel is about to end.
                || Said {
                    weight: 1,
                    labels: BTreeMap::new(),
                    // Nor is it to get work.
                    capabilities: Some(Vec::new()),
                    slots: 1,
                },
                |host| Said {
                    weight: host.weight,
                    labels: host.labels.clone(),
                    capabilities: host.capabilities.clone(),
                    slots: u16::try_from(host.slots).unwrap_or(u16::MAX),
                },
            )),
            token,
        }
    }
}

/// Says of each stream out of a tunnel who is at its other end.
async fn introduce(
    mut arriving: mpsc::Receiver<Visit>,
    streams: mpsc::Sender<Visitor>,
    guests: Guests,
) {
    while let Some(visit) = arriving.recv().await {
        let visitor = Visitor {
            stream: Box::new(visit.stream),
            caller: guests.caller(&visit.host, visit.token),
        };
        if streams.send(visitor).await.is_err() {
            return;
        }
    }
}

/// What the coordinator knows of the way to services behind tunnels.
#[derive(Debug)]
struct Through(Outlets);

impl Reach for Through {
    fn lead(&self, host: &str, holder: &HostId, ports: &BTreeSet<u16>) -> Ways {
        self.0.lead(host, holder, ports)
    }
}

/// The coordinator of this process.
pub struct Coordinator {
    /// Where it listens on this machine.
    pub url: String,
    /// Its jobs.
    pub queue: Queue,
    /// What of it works beside its server.
    pub parts: Parts,
    /// What leads to services behind tunnels.
    pub outlets: Outlets,
    socket: PathBuf,
    trigger: Trigger,
    serving: JoinHandle<()>,
    /// Nothing is left of the task that serves once nothing can come through here.
    gone: watch::Receiver<()>,
    /// Keeps other coordinators from the database.
    _claim: File,
}

impl Coordinator {
    /// Starts it: with the owner's socket, the port, and what tunnels bring, for which it returns the way.
    ///
    /// # Errors
    /// When the database, the socket or the port cannot be used.
    pub async fn start(
        args: &Args,
        place: &Place,
        controller: &ControllerId,
        (token, guests): (&Secret, Guests),
        output: &Output,
    ) -> anyhow::Result<(Self, mpsc::Sender<Visit>)> {
        let options = queue::Options {
            check_always: true,
            ..queue::Options::new(place.database())
        };
        let tokens = Tokens::parse(token.expose());
        if tokens.is_empty() {
            return Err(Failure::usage(
                "the controller's token is empty: everybody could use the port",
            )
            .hint("set SKYCLAW_TOKEN or the file in SKYCLAW_TOKEN_FILE to a token, or neither")
            .into());
        }
        let claim = serving::claim(&place.database())?;
        // The look over the file after an unclean end may take a while.
        let queue = tokio::task::spawn_blocking(move || Queue::open(options)).await??;
        let socket = OwnersSocket::open(&place.socket()).context("open the controller's socket")?;
        let listener = listen(args.port, output).await?;
        let port = listener.local_addr().context("look at the port")?.port();
        let defaults = coordinator::Settings::new(format!("controller-{controller}"));
        let lease_for = Given::of(&args.lease_ms)
            .map_or(defaults.lease_for, |millis| Duration::from_millis(*millis));
        let outlets = Outlets::default();
        let settings = coordinator::Settings {
            tokens,
            lease_for,
            reach: Some(Arc::new(Through(outlets.clone()))),
            ..defaults
        };
        let room = coordinator::load(Deps {
            queue: queue.clone(),
            settings,
            on_event: None,
            cluster: None,
        })
        .await?;
        // Hosts that ask must still be answered while they finish, so it stops after them, and not by a signal.
        let (trigger, shutdown) = shutdown::manual();
        let (visits, arriving) = mpsc::channel(VISITS);
        let (streams, received) = mpsc::channel(VISITS);
        let parts = Parts::default();
        let introducing = introduce(arriving, streams, guests);
        tokio::spawn(parts.watched("what lets tunnels in", introducing));
        let doors = Doors {
            tcp: vec![listener],
            unix: Some(socket),
            streams: Some(received),
        };
        let (serving, gone) = watched(async {
            if let Err(error) = coordinator::serve(room, doors, shutdown).await {
                tracing::error!(%error, "the controller's coordinator cannot go on");
            }
        });
        let this = Self {
            url: format!("http://127.0.0.1:{port}"),
            queue,
            parts,
            outlets,
            socket: place.socket(),
            trigger,
            serving,
            gone,
            _claim: claim,
        };
        Ok((this, visits))
    }

    /// Returns a client that speaks as the owner.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn client(&self) -> anyhow::Result<Client> {
        let url = unix_url(&self.socket)
            .ok_or_else(|| Failure::new(Exit::Failed, "the controller's socket has no address"))?;
        Ok(Client::new(client::Settings::new(vec![url]))?)
    }

    /// Waits until it serves no more, however that came.
    pub async fn gone(&self) {
        over(self.gone.clone()).await;
    }

    /// Ends it. Open requests may finish.
    pub async fn stop(mut self) {
        self.trigger.ask(Cause::Terminate);
        let ended = tokio::time::timeout(LAST_REQUESTS, &mut self.serving).await;
        if ended.is_err() {
            self.trigger.ask(Cause::Terminate);
            let _ = self.serving.await;
        }
    }
}

/// Starts a task. Returns besides what tells that it is over, also when it panicked.
fn watched(
    task: impl Future<Output = ()> + Send + 'static,
) -> (JoinHandle<()>, watch::Receiver<()>) {
    let (lives, gone) = watch::channel(());
    let task = tokio::spawn(async move {
        let _lives = lives;
        task.await;
    });
    (task, gone)
}

/// Waits until what tells of a [`watched`] task says that it is over.
async fn over(mut gone: watch::Receiver<()>) {
    while gone.changed().await.is_ok() {}
}

/// Listens on the port asked for, on the usual one, or on any.
async fn listen(asked: Option<u16>, output: &Output) -> Result<TcpListener, Failure> {
    let wanted = asked.unwrap_or(PORT);
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).await;
    match bound {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && asked.is_none() => {
            output.note(&format!(
                "{DEFAULT_URL} is taken by another program, so another port is used"
            ));
            let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            any.map_err(|error| Failure::new(Exit::Failed, "listen on 127.0.0.1").because(error))
        }
        Err(error) => Err(
            Failure::new(Exit::Failed, format!("listen on 127.0.0.1 port {wanted}"))
                .because(error)
                .hint("--port chooses another port; without it a free one is found"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_what_serves_is_noticed_also_when_it_panics() {
        let (task, gone) = watched(async {});
        over(gone).await;
        task.await.unwrap();
        let (task, gone) = watched(async { panic!("on purpose") });
        over(gone).await;
        assert!(task.await.is_err());
        let (_task, gone) = watched(std::future::pending());
        assert!(gone.has_changed().is_ok(), "it goes on");
    }
}
