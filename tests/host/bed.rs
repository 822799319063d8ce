//! A coordinator and hosts, each a process with a home of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use skyclaw::client::{Client, Settings, parse_url};
use skyclaw::protocol::api::{CancelJobs, HostRecord, JobKind, SubmitJob};
use skyclaw::protocol::{JobId, JobRecord, JobStatus, Payload, Reason, Requirement};
use skyclaw::support::secret::Secret;

use crate::common::{Running, eventually};

pub const SOON: Duration = Duration::from_secs(30);
pub const TOKEN: &str = "the-token-of-this-cluster";

pub struct Bed {
    pub dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    port: u16,
    lease_ms: u64,
    coordinator: Option<Running>,
    hosts: AtomicU32,
}

/// The text of a job's stdout.
pub fn out(job: &JobRecord) -> String {
    String::from_utf8_lossy(&job.result.as_ref().expect("a result").stdout.bytes).into_owned()
}

/// The error of a job.
pub fn error(job: &JobRecord) -> &str {
    let result = job.result.as_ref().expect("a result");
    result.error.as_deref().unwrap_or_default()
}

pub fn assert_done(job: &JobRecord) {
    assert_eq!(job.status, JobStatus::Completed, "{job:?}");
}

#[track_caller]
pub fn assert_failed(job: &JobRecord, reason: Reason) {
    assert_eq!(job.status, JobStatus::Failed, "{job:?}");
    assert_eq!(job.reason, Some(reason), "{job:?}");
}

impl Bed {
    pub fn new() -> Self {
        Self::with_lease(60_000)
    }

    /// A bed whose coordinator gives leases of so many milliseconds.
    pub fn with_lease(lease_ms: u64) -> Self {
        let mut bed = Self::without_coordinator();
        bed.lease_ms = lease_ms;
        bed.start_coordinator();
        bed
    }

    pub fn without_coordinator() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            dir: tempfile::tempdir().unwrap(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            port: listener.local_addr().unwrap().port(),
            lease_ms: 60_000,
            coordinator: None,
            hosts: AtomicU32::new(0),
        }
    }

    pub fn start_coordinator(&mut self) {
        let mut command = self.skyclaw(&["coordinator"]);
        command
            .env("SKYCLAW_COORDINATOR_PORT", self.port.to_string())
            .env("SKYCLAW_COORDINATOR_HOST", "127.0.0.1")
            .env("SKYCLAW_TOKEN", TOKEN)
            .env("SKYCLAW_LEASE_MS", self.lease_ms.to_string())
            .env("SKYCLAW_DB_PATH", self.dir.path().join("c.db"));
        let running = Running::start(&mut command, None);
        running.wait_for_line("listening on", SOON);
        self.coordinator = Some(running);
    }

    /// Kills the coordinator, as a power cut would.
    pub fn kill_coordinator(&mut self) {
        if let Some(running) = self.coordinator.take() {
            running.kill9();
            running.wait(SOON);
        }
    }

    /// Forgets everything the coordinator knew.
    pub fn wipe_coordinator(&mut self) {
        self.kill_coordinator();
        for entry in std::fs::read_dir(self.dir.path()).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("c.db") {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// skyclaw with a home and nothing else in its environment.
    pub fn skyclaw(&self, args: &[&str]) -> Command {
        let home = self.dir.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_skyclaw"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", &home)
            .env("XDG_STATE_HOME", home.join(".local/state"))
            .current_dir(&home);
        command
    }

    /// The command of a host with this name, not started.
    pub fn host_command(&self, name: &str, vars: &[(&str, &str)]) -> Command {
        let mut command = self.skyclaw(&["host"]);
        command
            .env("SKYCLAW_COORDINATOR_URL", self.url())
            .env("SKYCLAW_TOKEN", TOKEN)
            .env("SKYCLAW_HOST_NAME", name)
            .env("SKYCLAW_GRACE_MS", "500")
            .envs(vars.iter().copied());
        command
    }

    /// A host that is registered.
    #[track_caller]
    pub fn host(&self, name: &str, vars: &[(&str, &str)]) -> Running {
        let running = Running::start(&mut self.host_command(name, vars), None);
        running.wait_for_line("host registered", SOON);
        self.hosts.fetch_add(1, Ordering::Relaxed);
        running
    }

    /// Asks the host with this name on its own machine.
    pub fn ask_host(&self, name: &str, args: &[&str]) -> crate::common::Output {
        let mut command = self.skyclaw(&["host"]);
        command.args(args).env("SKYCLAW_HOST_NAME", name);
        Running::start(&mut command, None).wait(SOON)
    }

    pub fn state_dir(&self, name: &str) -> PathBuf {
        self.dir
            .path()
            .join("home/.local/state/skyclaw/host")
            .join(format!("name-{name}"))
    }

    pub fn client(&self) -> Client {
        Client::new(Settings {
            token: Some(Secret::new(TOKEN.to_owned())),
            ..Settings::new(vec![parse_url(&self.url()).unwrap()])
        })
        .unwrap()
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub fn submit_job(&self, job: &SubmitJob) -> JobId {
        self.block_on(self.client().submit(job, None)).unwrap().id
    }

    pub fn submit(&self, kind: &JobKind) -> JobId {
        self.submit_job(&job(kind))
    }

    /// Submits a shell script.
    pub fn sh(&self, script: &str) -> JobId {
        self.submit(&shell(script))
    }

    #[track_caller]
    pub fn wait(&self, job: JobId) -> JobRecord {
        let client = self.client();
        let waiting = client.wait(job, Some(SOON), SOON);
        let record = self.block_on(waiting).unwrap();
        assert!(record.status.is_final(), "still going on: {record:?}");
        record
    }

    #[track_caller]
    pub fn run(&self, script: &str) -> JobRecord {
        self.wait(self.sh(script))
    }

    pub fn look(&self, job: JobId) -> JobRecord {
        self.block_on(self.client().job(job)).unwrap()
    }

    pub fn cancel(&self, job: JobId) {
        let cancel = CancelJobs {
            ids: vec![job],
            reason: Some("enough".into()),
            ..CancelJobs::default()
        };
        self.block_on(self.client().cancel(&cancel)).unwrap();
    }

    pub fn hosts(&self) -> Vec<HostRecord> {
        self.block_on(self.client().hosts()).unwrap()
    }

    /// A file that jobs may write.
    pub fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Waits for a file that a job makes, and returns what is in it.
    #[track_caller]
    pub fn made(&self, name: &str) -> String {
        let file = self.dir.path().join(name);
        eventually(SOON, || file.exists());
        std::fs::read_to_string(file).unwrap()
    }
}

pub fn shell(script: &str) -> JobKind {
    JobKind::Shell {
        command: "sh".into(),
        args: vec!["-c".into(), script.into()],
        cwd: None,
        env: Default::default(),
        timeout_ms: None,
        grace_ms: None,
        argv_b64: Vec::new(),
        stdin: None,
        agent: None,
    }
}

pub fn job(kind: &JobKind) -> SubmitJob {
    SubmitJob {
        payload: Some(Payload::of(kind).unwrap()),
        requirement: Some(Requirement {
            required_capabilities: vec![kind.capability().to_owned()],
            ..Requirement::default()
        }),
        ..SubmitJob::default()
    }
}

/// Puts a program into a directory of the bed and returns the search path that finds it.
pub fn with_program(dir: &Path, name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let bin = dir.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let file = bin.join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}
