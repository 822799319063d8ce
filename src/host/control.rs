//! How the owner asks the daemon on the machine itself: a socket in the daemon's directory that nobody
//! else can reach. One JSON line each way.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::core::Core;
use super::services::Services;
use crate::client::holder::{Held, Stop};
use crate::protocol::api::Phase;
use crate::protocol::{AttemptNo, HostId, JobId};
use crate::support::clock::Timestamp;

/// The socket's name in the daemon's directory.
const NAME: &str = "control.sock";
/// The file that says that the host is paused, so that it still is after a restart.
const PAUSED: &str = "paused";
/// Addresses of sockets may not be longer than about this.
const LONGEST: usize = 100;
/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a question may be.
const LONGEST_LINE: u64 = 4096;

/// What the owner asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// How it stands, and what runs.
    Jobs,
    /// Ends a job.
    StopJob {
        /// Which.
        job: JobId,
    },
    /// Takes no more work.
    Pause,
    /// Takes work again.
    Resume,
}

/// What the daemon answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// This host.
    pub host: HostId,
    /// The coordinator knows it just now.
    pub registered: bool,
    /// Why it takes no work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// What runs, or has run and is on its way to the coordinator.
    pub jobs: Vec<LocalJob>,
    /// Whether the job to be ended was running.
    pub stopped: bool,
    /// Which services are here.
    #[serde(default)]
    pub services: Vec<LocalService>,
}

/// A service as its host sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalService {
    /// What people call it.
    pub name: String,
    /// Which part of it this is.
    pub assignment_id: String,
    /// How far it is.
    pub phase: Phase,
    /// Its port, while it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How often its process was started again in a row.
    pub restarts: u32,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A job as its host sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalJob {
    /// Which.
    pub job_id: JobId,
    /// Which try.
    pub attempt: AttemptNo,
    /// Its kind.
    pub kind: String,
    /// For whom it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_by: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Its process is there; otherwise its result is on its way.
    pub running: bool,
}

/// A daemon that could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None runs with this directory.
    #[error("no skyclaw host runs with {}", dir.display())]
    NotRunning {
        /// The directory.
        dir: PathBuf,
    },
    /// It did not answer as it should.
    #[error("ask the skyclaw host of {}", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Asks the daemon that runs with the directory `dir`.
///
/// # Errors
/// When none runs, or it does not answer.
pub fn ask(dir: &Path, ask: &Ask) -> Result<Answer, Error> {
    exchange(dir, ask).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NotRunning {
            dir: dir.to_owned(),
        },
        _ => Error::Io {
            dir: dir.to_owned(),
            source,
        },
    })
}

fn exchange(dir: &Path, ask: &Ask) -> io::Result<Answer> {
    let place = Place::of(dir)?;
    let mut stream = Blocking::connect(&place.path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

/// Where the socket is: by its path, or where that is too long by the open directory.
struct Place {
    path: PathBuf,
    _dir: Option<std::fs::File>,
}

impl Place {
    fn of(dir: &Path) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let path = dir.join(NAME);
        if path.as_os_str().len() <= LONGEST {
            return Ok(Self { path, _dir: None });
        }
        let open = std::fs::File::open(dir)?;
        Ok(Self {
            path: PathBuf::from(format!("/proc/self/fd/{}/{NAME}", open.as_raw_fd())),
            _dir: Some(open),
        })
    }
}

/// Returns whether the owner paused the host in a former life.
pub(super) fn is_paused(dir: &Path) -> bool {
    dir.join(PAUSED).exists()
}

/// Opens the socket. The directory's owner is the lock's owner, so an old socket is nobody's.
pub(super) fn open(dir: &Path) -> io::Result<UnixListener> {
    let place = Place::of(dir)?;
    match std::fs::remove_file(&place.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&place.path)?;
    std::fs::set_permissions(&place.path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers as long as the daemon runs.
pub(super) async fn keep(core: &Core, listener: UnixListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // One at a time: it is one owner, and no answer waits for anything.
        match tokio::time::timeout(PATIENCE, serve(core, stream)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a question of the owner failed"),
            Err(_) => tracing::debug!("a question of the owner did not come"),
        }
    }
}

async fn serve(core: &Core, stream: UnixStream) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(reader.take(LONGEST_LINE))
        .read_line(&mut line)
        .await?;
    let stopped = act(core, &serde_json::from_str(&line)?);
    let mut answer = serde_json::to_vec(&Answer {
        host: core.id.clone(),
        registered: core.session.borrow().is_some(),
        blocked: core.block.borrow().why(),
        jobs: present(core).map(local).collect(),
        stopped,
        services: core
            .services
            .as_ref()
            .map(Services::local)
            .unwrap_or_default(),
    })?;
    answer.push(b'\n');
    writer.write_all(&answer).await
}

/// Does what is asked. Returns whether a job was running that is to end.
fn act(core: &Core, ask: &Ask) -> bool {
    let file = core.state.path().join(PAUSED);
    let pause = |paused: bool| {
        let kept = if paused {
            std::fs::write(&file, "")
        } else {
            std::fs::remove_file(&file)
        };
        if let Err(error) = kept
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the pause will not outlast a restart as it should");
        }
        core.block.send_modify(|block| block.paused = paused);
    };
    match ask {
        Ask::Jobs => {}
        Ask::Pause => pause(true),
        Ask::Resume => pause(false),
        Ask::StopJob { job } => return core.table.stop(*job, &Stop::Owner),
    }
    false
}

/// Returns the leases but for those whose jobs have not begun.
fn present(core: &Core) -> impl Iterator<Item = Held<super::runner::orders::Orders>> {
    let all = core.table.all().into_iter();
    all.filter(move |held| !core.runner.holds(&held.lease))
}

fn local(held: Held<super::runner::orders::Orders>) -> LocalJob {
    LocalJob {
        job_id: held.lease.job_id,
        attempt: held.lease.attempt,
        kind: held.kind,
        submitted_by: held.submitted_by,
        since: held.since,
        running: held.orders.is_some(),
    }
}
