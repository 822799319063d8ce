//! A server, and tunnels to it that run in the test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use skyclaw::fleet::file::Host;
use skyclaw::fleet::seat::ControllerId;
use skyclaw::fleet::tunnel::{Outlets, State, Tunnel, Visit};
use skyclaw::ssh::forward::Place;
use skyclaw::support::shutdown::{Cause, Trigger, manual};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::common::{Sshd, SshdBuilder, World, link, require_sshd};

pub const SOON: Duration = Duration::from_secs(30);

pub struct Rig {
    pub server: Sshd,
    pub world: World,
    pub controller: ControllerId,
}

/// A tunnel that runs.
pub struct Running {
    pub visits: mpsc::Receiver<Visit>,
    pub state: watch::Receiver<State>,
    pub outlets: Outlets,
    stop: Trigger,
    task: JoinHandle<()>,
}

impl Rig {
    pub fn new() -> Option<Self> {
        Self::with(|builder| builder)
    }

    pub fn with(set_up: impl FnOnce(SshdBuilder) -> SshdBuilder) -> Option<Self> {
        if !require_sshd() {
            return None;
        }
        let world = World::new();
        let server = set_up(world.sshd()).start();
        let controller = ControllerId::in_dir(world.dir()).unwrap();
        Some(Self {
            server,
            world,
            controller,
        })
    }

    pub fn start(&self) -> Running {
        self.start_with(Some(Duration::from_secs(5)))
    }

    pub fn start_with(&self, keepalive: Option<Duration>) -> Running {
        let host = link::host(&self.world, &self.server, "alpha");
        self.start_to(host, keepalive)
    }

    pub fn start_to(&self, host: Arc<Host>, keepalive: Option<Duration>) -> Running {
        let (visits, receiver) = mpsc::channel(4);
        let outlets = Outlets::default();
        let (stop, shutdown) = manual();
        let tunnel = Tunnel {
            host,
            links: link::links(&self.world, keepalive),
            controller: self.controller.clone(),
            visits,
            outlets: outlets.clone(),
        };
        let (state, task) = tunnel.start(shutdown);
        Running {
            visits: receiver,
            state,
            outlets,
            stop,
            task,
        }
    }

    pub fn directory(&self) -> PathBuf {
        self.server.home().join(skyclaw::fleet::seat::TUNNELS)
    }

    pub fn socket(&self) -> PathBuf {
        self.server.home().join(self.controller.socket())
    }

    pub fn file(&self) -> PathBuf {
        self.server.home().join(self.controller.coordinator_file())
    }

    /// What the file on the host says.
    pub fn announced(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.file()).unwrap()).unwrap()
    }

    /// Returns what is in the directory of tunnels.
    pub fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory()).unwrap().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Goes from the host's side through the tunnel as its file says. Returns what came out here.
    pub async fn visit(&self, running: &mut Running) -> Visit {
        let url = self.announced()["url"].as_str().unwrap().to_owned();
        let answer = b"and back";
        let mut got = vec![0; answer.len()];
        let visit = if let Some(path) = url.strip_prefix("unix:") {
            let mut there = UnixStream::connect(path).await.unwrap();
            there.write_all(b"there").await.unwrap();
            let visit = running.serve_one(answer).await;
            there.read_exact(&mut got).await.unwrap();
            visit
        } else {
            let address = url.strip_prefix("http://").unwrap();
            let mut there = TcpStream::connect(address).await.unwrap();
            there.write_all(b"there").await.unwrap();
            let visit = running.serve_one(answer).await;
            there.read_exact(&mut got).await.unwrap();
            visit
        };
        assert_eq!(got, answer);
        visit
    }
}

impl Running {
    /// Returns the streams, for somebody else to serve.
    pub fn take_visits(&mut self) -> mpsc::Receiver<Visit> {
        let (_, none) = mpsc::channel(1);
        std::mem::replace(&mut self.visits, none)
    }

    async fn serve_one(&mut self, answer: &[u8]) -> Visit {
        let mut visit = timeout(SOON, self.visits.recv()).await.unwrap().unwrap();
        let mut got = [0; 5];
        visit.stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"there");
        visit.stream.write_all(answer).await.unwrap();
        assert_eq!(visit.host.as_str(), "alpha");
        visit
    }

    /// Waits for a state.
    pub async fn reaches(&mut self, wanted: fn(&State) -> bool) -> State {
        let reached = timeout(SOON, self.state.wait_for(wanted)).await;
        if let Ok(state) = reached {
            return state.unwrap().clone();
        }
        drop(reached);
        panic!("it stays {:?}", *self.state.borrow());
    }

    pub async fn up(&mut self) -> Place {
        match self
            .reaches(|state| matches!(state, State::Up { .. }))
            .await
        {
            State::Up { at, .. } => at,
            other => panic!("{other:?}"),
        }
    }

    pub async fn down(&mut self) -> String {
        match self
            .reaches(|state| matches!(state, State::Down { .. }))
            .await
        {
            State::Down { error, .. } => error.chain(),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until it has been lost and made again.
    pub async fn up_again(&mut self) -> Place {
        self.reaches(|state| !matches!(state, State::Up { .. }))
            .await;
        self.up().await
    }

    pub async fn stop(mut self) {
        self.stop.ask(Cause::Interrupt);
        timeout(SOON, &mut self.task).await.unwrap().unwrap();
        assert!(matches!(*self.state.borrow(), State::Gone));
    }
}
