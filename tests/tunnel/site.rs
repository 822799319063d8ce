//! A coordinator beside the tunnel's near end, and host daemons beside its far end.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use skyclaw::client::{Client, Settings, parse_url};
use skyclaw::coordinator::{self, Caller, Deps, Doors, Reach, Visitor, Ways};
use skyclaw::fleet::tunnel::{Outlets, Visit};
use skyclaw::protocol::api::{JobKind, SubmitJob};
use skyclaw::protocol::{HostId, JobId, JobRecord, Payload, Requirement};
use skyclaw::queue::{Options, Queue};
use skyclaw::support::shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::common::Running;
use crate::common::coordinator::{Coordinator, Plan};
use crate::rig::SOON;

/// Tokens that requests have shown, one for each stream.
pub type Shown = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// Takes each stream to the coordinator, as `fleet up` does without a network between.
pub fn relay(mut visits: mpsc::Receiver<Visit>, to: SocketAddr) -> Shown {
    let shown = Shown::default();
    let kept = Arc::clone(&shown);
    tokio::spawn(async move {
        while let Some(visit) = visits.recv().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let _ = carry(visit, to, &kept).await;
            });
        }
    });
    shown
}

async fn carry(mut visit: Visit, to: SocketAddr, shown: &Shown) -> std::io::Result<()> {
    let mut first = vec![0; 16 << 10];
    let length = visit.stream.read(&mut first).await?;
    let head = String::from_utf8_lossy(&first[..length]).to_lowercase();
    let token = head
        .lines()
        .find_map(|line| line.strip_prefix("x-skyclaw-token: "))
        .unwrap_or_default();
    let asked = visit.token.as_ref().map(|token| token.expose().to_owned());
    shown.lock().unwrap().push((token.to_owned(), asked));
    let mut coordinator = TcpStream::connect(to).await?;
    coordinator.write_all(&first[..length]).await?;
    copy_bidirectional(&mut visit.stream, &mut coordinator).await?;
    Ok(())
}

/// The way to services, as `fleet up` shows it to its coordinator.
#[derive(Debug)]
struct Through(Outlets);

impl Reach for Through {
    fn lead(&self, host: &str, holder: &HostId, ports: &BTreeSet<u16>) -> Ways {
        self.0.lead(host, holder, ports)
    }
}

/// A coordinator on loopback.
pub struct Site {
    address: SocketAddr,
    /// Its own process, if it has one.
    _process: Option<Coordinator>,
    _dir: tempfile::TempDir,
}

impl Site {
    /// One of its own.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let coordinator = Plan::new(dir.path()).start();
        Self {
            address: coordinator.address,
            _process: Some(coordinator),
            _dir: dir,
        }
    }

    /// One in this process, which takes the streams itself and knows whose they are.
    pub async fn within(visits: mpsc::Receiver<Visit>) -> Self {
        Self::reaching(visits, Outlets::default()).await
    }

    /// The same, with a way to services on hosts.
    pub async fn reaching(mut visits: mpsc::Receiver<Visit>, outlets: Outlets) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(Options::new(dir.path().join("c.db"))).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (streams, visitors) = mpsc::channel(1);
        let doors = Doors {
            tcp: vec![listener],
            unix: None,
            streams: Some(visitors),
        };
        let deps = Deps {
            queue,
            settings: coordinator::Settings {
                reach: Some(Arc::new(Through(outlets))),
                ..coordinator::Settings::new("node_test")
            },
            on_event: None,
            cluster: None,
        };
        let (trigger, shutdown) = shutdown::manual();
        tokio::spawn(async move {
            coordinator::run(deps, doors, shutdown).await.unwrap();
            drop(trigger);
        });
        tokio::spawn(async move {
            while let Some(visit) = visits.recv().await {
                let caller = Caller::Host {
                    name: visit.host.to_string(),
                    may_submit: false,
                    said: None,
                    token: visit.token,
                };
                let stream = Box::new(visit.stream);
                let _ = streams.send(Visitor { stream, caller }).await;
            }
        });
        Self {
            address,
            _process: None,
            _dir: dir,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn client(&self) -> Client {
        let url = parse_url(&format!("http://{}", self.address)).unwrap();
        Client::new(Settings::new(vec![url])).unwrap()
    }

    /// Submits a shell script.
    pub async fn sh(&self, script: &str) -> JobId {
        let kind = JobKind::Shell {
            command: "sh".into(),
            args: vec!["-c".into(), script.into()],
            cwd: None,
            env: Default::default(),
            timeout_ms: None,
            grace_ms: None,
            argv_b64: Vec::new(),
            stdin: None,
            agent: None,
        };
        let job = SubmitJob {
            payload: Some(Payload::of(&kind).unwrap()),
            requirement: Some(Requirement {
                required_capabilities: vec![kind.capability().to_owned()],
                ..Requirement::default()
            }),
            ..SubmitJob::default()
        };
        self.client().submit(&job, None).await.unwrap().id
    }

    pub async fn look(&self, job: JobId) -> JobRecord {
        self.client().job(job).await.unwrap()
    }

    /// Waits for the end of a job and returns what it printed.
    pub async fn output(&self, job: JobId) -> String {
        let record = self.client().wait(job, Some(SOON), SOON).await.unwrap();
        let result = record.result.as_ref().expect("a result");
        String::from_utf8_lossy(&result.stdout.bytes).into_owned()
    }
}

/// A host daemon at `home`, told of its coordinator by `file` alone; not started.
pub fn daemon(home: &Path, file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skyclaw"));
    command
        .arg("host")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", home)
        .env("XDG_STATE_HOME", home.join(".local/state"))
        .env("SKYCLAW_HOST_NAME", "alpha")
        .env("SKYCLAW_GRACE_MS", "500")
        .env("SKYCLAW_COORDINATOR_FILE", file)
        .current_dir(home);
    command
}

pub fn start(mut command: Command) -> Running {
    Running::start(&mut command, None)
}

/// Writes a coordinator's file.
pub fn write(path: &PathBuf, text: &str, mode: u32) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::rename(fresh, path).unwrap();
}
