//! The real programs: a coordinator with a fresh database, and a host that pulls from it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use crate::http::{Connection, TOKEN};
use crate::process::Process;
use crate::wire::{self, Counts};

/// Returns the release binary that is measured.
pub fn binary() -> PathBuf {
    std::env::var_os("BENCH_SKYCLAW").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_skyclaw")),
        PathBuf::from,
    )
}

/// A coordinator of its own.
pub struct Coordinator {
    /// The program.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    dir: TempDir,
}

impl Coordinator {
    /// Starts one with a fresh database in a directory of `place`.
    pub async fn start(place: &Path) -> Self {
        let dir = tempfile::tempdir_in(place).unwrap();
        let mut command = bare(dir.path());
        command
            .arg("coordinator")
            .env("SKYCLAW_COORDINATOR_HOST", "127.0.0.1")
            .env("SKYCLAW_COORDINATOR_PORT", "0")
            .env("SKYCLAW_DB_PATH", dir.path().join("coordinator.db"))
            // The load must never be refused because it waits.
            .env("SKYCLAW_MAX_QUEUED", "10000000");
        let mut process = Process::start(&mut command, dir.path().join("coordinator.log"));
        let line = process.line_with("listening on http://").await;
        let address = line.rsplit_once("http://").unwrap().1.trim();
        let address = address.parse().unwrap();
        Self {
            process,
            address,
            dir,
        }
    }

    /// Returns a new connection to it.
    pub async fn connect(&self) -> Connection {
        Connection::open(self.address).await
    }

    /// Returns new connections, each with a registered host of its own that runs `parallel` jobs.
    pub async fn hosts(&self, count: usize, parallel: usize) -> Vec<(String, Connection)> {
        let mut hosts = Vec::with_capacity(count);
        for number in 0..count {
            let host = format!("host-{number}");
            let mut connection = self.connect().await;
            let body = wire::register(&host, parallel);
            connection.post("/v1/hosts/register", body.as_bytes()).await;
            hosts.push((host, connection));
        }
        hosts
    }

    /// Returns how many jobs stand where.
    pub async fn counts(&self) -> Counts {
        wire::counts(self.connect().await.get("/v1/queue").await)
    }

    /// Puts `count` jobs in.
    pub async fn fill(&self, count: usize) {
        const BATCH: usize = 5_000;
        let mut connection = self.connect().await;
        for begun in (0..count).step_by(BATCH) {
            let body = wire::submit_many(wire::TRUE, BATCH.min(count - begun));
            connection.post("/v1/jobs/batch", body.as_bytes()).await;
        }
    }

    /// Ends it.
    pub async fn stop(self) {
        self.process.stop(Signal::TERM).await;
        drop(self.dir);
    }
}

/// A host daemon of its own.
pub struct Host {
    /// The program.
    pub process: Process,
    dir: TempDir,
}

impl Host {
    /// Starts one that pulls from `coordinator` and runs `slots` jobs at once.
    pub async fn start(place: &Path, coordinator: &Coordinator, slots: usize) -> Self {
        let dir = tempfile::tempdir_in(place).unwrap();
        let mut command = bare(dir.path());
        command
            .arg("host")
            .env(
                "SKYCLAW_COORDINATOR_URL",
                format!("http://{}", coordinator.address),
            )
            .env("SKYCLAW_HOST_NAME", "bench")
            .env("SKYCLAW_MAX_PARALLEL", slots.to_string())
            .env("SKYCLAW_CAPABILITIES", "shell")
            .env("SKYCLAW_ALLOWED_COMMANDS", "true,date");
        let mut process = Process::start(&mut command, dir.path().join("host.log"));
        process.line_with("host registered").await;
        Self { process, dir }
    }

    /// Ends it.
    pub async fn stop(self) {
        self.process.stop(Signal::TERM).await;
        drop(self.dir);
    }
}

/// Returns the binary with a home of its own and nothing else of this environment.
fn bare(home: &Path) -> Command {
    let mut command = Command::new(binary());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("SKYCLAW_TOKEN", TOKEN)
        .current_dir(home);
    command
}
