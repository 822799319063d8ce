//! A coordinator, hosts and gateways with the API of `tests/fixtures/api`, all real processes.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::common::coordinator::{Coordinator, Plan};
use crate::common::http::Http;
use crate::common::procs::{Proc, assert_no_process_within, descendants, processes_with};
use crate::common::{Running, eventually, require_packaged};

/// Long enough for anything that works.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Story {
    // Whoever talks to others goes before them.
    pub gateways: Vec<Gateway>,
    pub hosts: Vec<Host>,
    pub coordinator: Option<Coordinator>,
    /// The others of its cluster, if it has one.
    peers: Vec<Coordinator>,
    port: u16,
    pub dir: tempfile::TempDir,
}

/// A daemon.
pub struct Host {
    pub name: &'static str,
    pub daemon: Running,
}

/// A gateway. Dropping it kills it.
pub struct Gateway {
    _process: Running,
    pub address: SocketAddr,
}

/// One that answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica {
    pub port: String,
    pub pid: u64,
    pub version: String,
}

impl Story {
    /// A coordinator with hosts of these names and two gateways; nothing where Node is missing.
    pub fn begin(names: &[&'static str]) -> Option<Self> {
        let mut story = Self::with_a_coordinator()?;
        for name in names {
            story.start_host(name);
        }
        let (known, dead) = (story.url(), "http://127.0.0.1:1");
        // The second knows of a coordinator that is not there as well.
        for coordinators in [known.clone(), format!("{dead},{known}")] {
            let gateway = story.start_gateway(&coordinators);
            story.gateways.push(gateway);
        }
        Some(story)
    }

    /// Three coordinators as one, each with the one host that knows of it, and gateways that know the second and the third.
    pub fn of_three(names: [&'static str; 3]) -> Option<Self> {
        let mut story = Self::with_a_coordinator()?;
        for number in 0..2 {
            let dir = story.dir.path().join(format!("peer{number}"));
            std::fs::create_dir(&dir).unwrap();
            let first = story.url();
            let peer = Plan::new(&dir).env("SKYCLAW_PEER_URLS", &first).start();
            story.peers.push(peer);
        }
        eventually(SOON, || {
            let known = story.coordinator.as_ref().unwrap().get("/v1/network/peers");
            let followers = known["members"].as_array().map_or(0, |all| {
                all.iter().filter(|one| one["role"] == "follower").count()
            });
            followers == 2
        });
        let urls: Vec<String> = std::iter::once(story.url())
            .chain(story.peers.iter().map(Coordinator::url))
            .collect();
        for (name, knows) in names.into_iter().zip(&urls) {
            story.start_host_of(name, knows);
        }
        for knows in &urls[1..] {
            let gateway = story.start_gateway(knows);
            story.gateways.push(gateway);
        }
        Some(story)
    }

    /// One that can come back where it was, and nobody else; nothing where Node is missing.
    fn with_a_coordinator() -> Option<Self> {
        if !require_packaged("node", "nodejs") {
            return None;
        }
        let port = free_port();
        let dir = tempfile::tempdir().unwrap();
        Some(Self {
            gateways: Vec::new(),
            hosts: Vec::new(),
            coordinator: Some(Plan::new(dir.path()).port(port).start()),
            peers: Vec::new(),
            port,
            dir,
        })
    }

    /// Kills the coordinator and goes on with another one of its cluster.
    pub fn change_coordinator(&mut self) {
        self.coordinator.take().unwrap().kill();
        let next = self.peers.remove(0);
        self.port = next.address.port();
        self.coordinator = Some(next);
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The coordinator comes back, or comes for the first time.
    pub fn start_coordinator(&mut self) {
        self.coordinator = Some(Plan::new(self.dir.path()).port(self.port).start());
    }

    /// The program with nothing of the user's around it.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skyclaw"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("SKYCLAW_COORDINATOR_URL", self.url())
            .current_dir(self.dir.path());
        command
    }

    /// Starts a daemon, or starts it again.
    pub fn start_host(&mut self, name: &'static str) {
        self.start_host_of(name, &self.url());
    }

    /// Starts a daemon that knows this coordinator alone.
    fn start_host_of(&mut self, name: &'static str, knows: &str) {
        let mut command = self.command(&["host", "--name", name, "--id", name]);
        command
            .env("SKYCLAW_COORDINATOR_URL", knows)
            .env("SKYCLAW_SERVICE_BASE_PORT", base_port().to_string())
            .env("SKYCLAW_ALLOWED_COMMANDS", "node");
        let daemon = Running::start(&mut command, None);
        daemon.wait_for_line("host registered", SOON);
        self.hosts.retain(|host| host.name != name);
        self.hosts.push(Host { name, daemon });
    }

    fn start_gateway(&self, coordinators: &str) -> Gateway {
        let mut command = self.command(&["gateway", "--port", "0"]);
        command
            .env_remove("SKYCLAW_COORDINATOR_URL")
            .env("SKYCLAW_COORDINATOR_URLS", coordinators);
        let process = Running::start(&mut command, None);
        let line = process.wait_for_line("gateway listening on http://", SOON);
        let address = line.rsplit("http://").next().unwrap().parse().unwrap();
        Gateway {
            _process: process,
            address,
        }
    }

    pub fn host(&self, name: &str) -> &Host {
        let found = self.hosts.iter().find(|host| host.name == name);
        found.unwrap_or_else(|| panic!("no host {name}"))
    }

    /// Runs a verb that must succeed and returns what it printed.
    #[track_caller]
    pub fn says(&self, args: &[&str]) -> String {
        self.start(args).wait(SOON).expect_code(0).out()
    }

    /// Starts a verb.
    pub fn start(&self, args: &[&str]) -> Running {
        Running::start(&mut self.command(args), None)
    }

    /// Deploys the API and waits until that is done.
    #[track_caller]
    pub fn deploy(&self, replicas: &str, version: &str) {
        self.start_deploy(replicas, version)
            .wait(SOON)
            .expect_code(0);
    }

    /// Begins to deploy the API, which is done when nothing of an older version is left.
    pub fn start_deploy(&self, replicas: &str, version: &str) -> Running {
        let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/api/server.js");
        let version = format!("VERSION={version}");
        let marker = format!("STORY={}", self.marker());
        self.start(&[
            "deploy-service",
            "api",
            "node",
            server,
            "--replicas",
            replicas,
            "--health",
            "/health",
            "--env",
            &version,
            "--env",
            &marker,
            // Longer than a test waits: what ends, ends because nobody is connected to it.
            "--drain",
            "120s",
            "--wait",
        ])
    }

    fn marker(&self) -> String {
        self.dir.path().display().to_string()
    }

    /// The API's assignments as the coordinator shows them.
    pub fn assignments(&self) -> Vec<Value> {
        let coordinator = self.coordinator.as_ref().unwrap();
        let list = coordinator.get("/v1/services");
        list["services"][0]["assignments"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// The hosts that have a replica that is ready.
    pub fn ready_on(&self) -> Vec<String> {
        let all = self.assignments();
        let ready = all.iter().filter(|one| one["phase"] == "ready");
        ready
            .map(|one| one["hostId"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The processes of the API on this host.
    pub fn processes_of(&self, name: &str) -> Vec<Proc> {
        let mut found = descendants(self.host(name).daemon.pid());
        found.retain(|process| process.cmdline.contains("server.js"));
        found
    }

    /// Waits until both gateways send requests to exactly so many replicas that answer.
    #[track_caller]
    pub fn until_all_answer(&self, count: usize) {
        eventually(SOON, || {
            self.ready_on().len() == count
                && self.gateways.iter().all(|gateway| {
                    gateway.endpoints().len() == count && gateway.replicas(count).len() == count
                })
        });
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        self.gateways.clear();
        self.hosts.clear();
        self.coordinator = None;
        self.peers.clear();
        let marker = self.marker();
        if std::thread::panicking() {
            for process in processes_with(&marker) {
                process.kill9();
            }
        } else {
            assert_no_process_within(Duration::from_secs(20), &marker);
        }
    }
}

impl Gateway {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the lines of its numbers about endpoints of the API that are well.
    pub fn endpoints(&self) -> Vec<String> {
        let reply =
            Http::connect(self.address).and_then(|mut http| http.send("GET", "/metrics", b""));
        let text = String::from_utf8(reply.unwrap().expect(200).body).unwrap();
        let lines = text.lines().filter(|line| {
            line.starts_with("skyclaw_gateway_endpoint_up{") && line.ends_with(" 1")
        });
        lines.map(str::to_owned).collect()
    }

    /// Asks three times as often as there are replicas who answers.
    pub fn replicas(&self, count: usize) -> BTreeSet<Replica> {
        let mut http = Http::connect(self.address).unwrap();
        let mut ask = || {
            let reply = http.send("GET", "/v1/gateway/api/who", b"").unwrap();
            let said = (reply.status == 200).then(|| reply.json())?;
            let text = |name: &str| said[name].as_str().unwrap().to_owned();
            Some(Replica {
                port: text("replica"),
                pid: said["pid"].as_u64().unwrap(),
                version: text("version"),
            })
        };
        (0..count * 3).filter_map(|_| ask()).collect()
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A port for each host, out of the way of other tests and of the system's own.
fn base_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = 12_000 + u16::try_from(std::process::id() % 190).unwrap() * 40;
    own + NEXT.fetch_add(1, Ordering::SeqCst) * 4
}
