//! A fleet on one SSH server, and a controller that works for it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use skyclaw::client::{Client, Settings, parse_url};
use skyclaw::protocol::api::{HostRecord, SubmitJob};
use skyclaw::protocol::{JobId, JobRecord, Payload, Requirement};
use skyclaw::support::secret::Secret;

use crate::common::{Bed, FleetHost, Running, SshdBuilder, eventually};

pub const SOON: Duration = Duration::from_secs(60);

/// The two of them.
pub struct Place {
    pub bed: Bed,
    runtime: tokio::runtime::Runtime,
    pub controller: Option<Running>,
    pub url: String,
}

impl Place {
    /// Hosts of these names, each with `slots`, all on one server; no controller yet. Nothing where sshd is missing.
    pub fn with(names: &[&str], slots: u32) -> Option<Self> {
        Self::on(names, slots, |builder| builder)
    }

    /// The same on a server that is set up by `set_up`.
    pub fn on(
        names: &[&str],
        slots: u32,
        set_up: impl FnOnce(SshdBuilder) -> SshdBuilder,
    ) -> Option<Self> {
        let bed = Bed::on(names, |builder| set_up(builder.max_startups("200")))?;
        let place = Self {
            bed,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            controller: None,
            url: String::new(),
        };
        place.fleet(names, |host| host.with("slots", slots));
        Some(place)
    }

    /// Writes the fleet file anew.
    pub fn fleet(&self, names: &[&str], with: impl Fn(FleetHost) -> FleetHost) {
        let hosts: Vec<FleetHost> = names
            .iter()
            .map(|name| with(self.bed.server.fleet_host(name)))
            .collect();
        self.bed.world.fleet(&hosts);
    }

    /// Starts the controller on a free port and waits until it serves.
    #[track_caller]
    pub fn up(&mut self, more: &[&str]) {
        let mut args = vec!["fleet", "up", "--port", "0"];
        args.extend(more);
        let running = self.bed.world.spawn(&args);
        let line = running.wait_for_line(" serves http://", SOON);
        self.url = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
            .unwrap()
            .to_owned();
        self.controller = Some(running);
    }

    /// A place whose controller runs and has all hosts.
    #[track_caller]
    pub fn ready(names: &[&str], slots: u32) -> Option<Self> {
        let mut place = Self::with(names, slots)?;
        place.up(&[]);
        place.wait_for_hosts(names.len());
        Some(place)
    }

    /// Waits until so many hosts take work.
    #[track_caller]
    pub fn wait_for_hosts(&self, count: usize) {
        eventually(SOON, || {
            let hosts = self.hosts();
            hosts.iter().filter(|host| host.blocked.is_none()).count() == count
        });
    }

    pub fn state(&self, file: &str) -> PathBuf {
        self.bed
            .world
            .home()
            .join(".local/state/skyclaw")
            .join(file)
    }

    pub fn token(&self) -> String {
        let text = std::fs::read_to_string(self.state("controller.token")).unwrap();
        text.trim().to_owned()
    }

    pub fn client(&self) -> Client {
        Client::new(Settings {
            token: Some(Secret::new(self.token())),
            ..Settings::new(vec![parse_url(&self.url).unwrap()])
        })
        .unwrap()
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub fn hosts(&self) -> Vec<HostRecord> {
        self.block_on(self.client().hosts()).unwrap()
    }

    /// Submits a job for `host`, or for any.
    pub fn submit(&self, host: Option<&str>, payload: serde_json::Value) -> JobId {
        self.submit_job(job(host, payload))
    }

    pub fn submit_job(&self, job: SubmitJob) -> JobId {
        self.block_on(self.client().submit(&job, None)).unwrap().id
    }

    /// Submits a shell script.
    pub fn sh(&self, host: Option<&str>, script: &str) -> JobId {
        self.submit(host, shell(script))
    }

    #[track_caller]
    pub fn wait(&self, job: JobId) -> JobRecord {
        let waiting = async { self.client().wait(job, Some(SOON), SOON).await };
        let record = self.block_on(waiting).unwrap();
        assert!(record.status.is_final(), "still going on: {record:?}");
        record
    }

    pub fn record(&self, job: JobId) -> JobRecord {
        self.block_on(self.client().job(job)).unwrap()
    }

    /// A file that jobs can reach, by its full name.
    pub fn file(&self, name: &str) -> String {
        self.bed.server.home().join(name).display().to_string()
    }

    #[track_caller]
    pub fn made(&self, name: &str) {
        let path = self.file(name);
        eventually(SOON, || std::path::Path::new(&path).exists());
    }
}

/// A job for `host`, or for any.
pub fn job(host: Option<&str>, payload: serde_json::Value) -> SubmitJob {
    SubmitJob {
        requirement: host.map(Requirement::pinned),
        payload: Some(Payload::of(&payload).unwrap()),
        ..SubmitJob::default()
    }
}

pub fn shell(script: &str) -> serde_json::Value {
    json!({ "kind": "shell", "command": "sh", "args": ["-c", script] })
}

pub fn out(job: &JobRecord) -> String {
    String::from_utf8_lossy(&job.result.as_ref().expect("a result").stdout.bytes).into_owned()
}

pub fn error(job: &JobRecord) -> String {
    let result = job.result.as_ref().expect("a result");
    result.error.clone().unwrap_or_default()
}
