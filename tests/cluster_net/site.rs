//! A network with coordinators and hosts, each on a machine of its own. The test itself sits where the controller of
//! other tests would.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use skyclaw::client::{Client, Settings, parse_url};
use skyclaw::support::secret::Secret;

use crate::common::net::NetHost;
use crate::common::sshd::within;
use crate::common::{Net, Running, eventually, holds_within, require_network};

pub const SOON: Duration = Duration::from_secs(60);
pub const TOKEN: &str = "a-token-for-this-test-alone";
const PORT: u16 = 8787;
/// Of more members than this, some have no vote.
const VOTERS: usize = 5;
/// Short, so that what was lost comes back within a test; long enough for a busy machine.
const LEASE_MS: &str = "8000";

/// A coordinator's machine.
pub struct Node {
    pub name: String,
    pub cable: NetHost,
    pub dir: PathBuf,
    pub process: Option<Running>,
    /// Variables besides the usual ones.
    pub env: Vec<(String, String)>,
}

/// A machine that runs jobs.
pub struct Worker {
    pub cable: NetHost,
    pub daemon: Option<Running>,
    pub name: String,
    knows: String,
    /// It is on a coordinator's machine and speaks to that one through the loopback.
    is_near: bool,
}

pub struct Site {
    pub nodes: Vec<Node>,
    pub workers: Vec<Worker>,
    pub dir: tempfile::TempDir,
    pub runtime: tokio::runtime::Runtime,
    // Last: what runs in it ends before the network goes.
    net: Net,
}

impl Node {
    pub fn url(&self) -> String {
        format!("http://{}:{PORT}", self.cable.address())
    }

    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Starts it as its owner would: alone, or to join another.
    #[track_caller]
    pub fn start(&mut self, join: Option<&str>) {
        let program = env!("CARGO_BIN_EXE_skyclaw");
        let mut command = within(Some(self.cable.namespace()), program.as_ref());
        command
            .arg("coordinator")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", &self.dir)
            .env("SKYCLAW_TOKEN", TOKEN)
            .env("SKYCLAW_COORDINATOR_NODE_ID", &self.name)
            .env("SKYCLAW_LEASE_MS", LEASE_MS)
            .env("SKYCLAW_DB_PATH", self.dir.join("coordinator.db"))
            .envs(self.env.iter().cloned())
            .current_dir(&self.dir);
        if let Some(url) = join {
            command.env("SKYCLAW_PEER_URLS", url);
        }
        let running = Running::start(&mut command, None);
        running.wait_for_line("listening on http://", SOON);
        self.process = Some(running);
    }

    /// Kills it, as a crash would.
    #[track_caller]
    pub fn kill(&mut self) {
        let process = self.process.take().unwrap();
        process.kill9();
        process.wait(SOON);
    }

    /// Waits for it to end by itself; returns its exit code and what it said.
    #[track_caller]
    pub fn ended(&mut self) -> (i32, String) {
        let output = self.process.take().unwrap().wait(SOON);
        (output.code, output.err())
    }

    pub fn freeze(&self) {
        self.process.as_ref().unwrap().signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.process.as_ref().unwrap().signal(Signal::CONT);
    }
}

impl Site {
    /// `coordinators` machines of which none runs anything yet, and `workers` that know one coordinator each.
    /// Nothing where networks cannot be made.
    pub fn new(coordinators: usize, workers: usize) -> Option<Self> {
        if !require_network() {
            return None;
        }
        let mut net = Net::new();
        let dir = tempfile::Builder::new()
            .prefix("skyclaw-cluster-")
            .tempdir()
            .unwrap();
        let nodes: Vec<Node> = (0..coordinators)
            .map(|number| node(&mut net, dir.path(), number))
            .collect();
        let workers = (0..workers)
            .map(|number| Worker {
                cable: net.host(),
                daemon: None,
                name: format!("w{number}"),
                knows: nodes[number % nodes.len()].url(),
                is_near: false,
            })
            .collect();
        net.enter();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Some(Self {
            nodes,
            workers,
            dir,
            runtime,
            net,
        })
    }

    /// Three coordinators by the three lines, and their workers: the second joins through the first, the third knows
    /// the second alone.
    pub fn three(workers: usize) -> Option<Self> {
        let mut site = Self::new(3, workers)?;
        site.start_all();
        Some(site)
    }

    /// Starts what there is, each coordinator but the first with the address of the one before it.
    #[track_caller]
    pub fn start_all(&mut self) {
        for number in 0..self.nodes.len() {
            self.start(number);
        }
        self.whole();
        self.start_workers();
    }

    /// Puts a worker on a coordinator's machine, where it says nothing of its address.
    pub fn put_near(&mut self, worker: usize, node: usize) {
        let cable = self.nodes[node].cable.clone();
        let worker = &mut self.workers[worker];
        worker.cable = cable;
        worker.knows = format!("http://127.0.0.1:{PORT}");
        worker.is_near = true;
    }

    #[track_caller]
    pub fn start_workers(&mut self) {
        for number in 0..self.workers.len() {
            self.start_worker(number);
        }
        let count = self.workers.len();
        eventually(SOON, || self.hosts() == count);
    }

    /// Starts one by its own line.
    #[track_caller]
    pub fn start(&mut self, number: usize) {
        let join = number.checked_sub(1).map(|before| self.nodes[before].url());
        self.nodes[number].start(join.as_deref());
    }

    /// Adds a machine for a coordinator, which is not started.
    pub fn add_node(&mut self) -> usize {
        let number = self.nodes.len();
        let node = node(&mut self.net, self.dir.path(), number);
        self.nodes.push(node);
        number
    }

    #[track_caller]
    pub fn start_worker(&mut self, number: usize) {
        let home = self.dir.path().join(format!("worker{number}"));
        std::fs::create_dir_all(&home).unwrap();
        let worker = &mut self.workers[number];
        let program = env!("CARGO_BIN_EXE_skyclaw");
        let mut command = within(Some(worker.cable.namespace()), program.as_ref());
        command
            .arg("host")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", &home)
            .env("SKYCLAW_TOKEN", TOKEN)
            .env("SKYCLAW_COORDINATOR_URL", &worker.knows)
            .env("SKYCLAW_HOST_ID", &worker.name)
            .env("SKYCLAW_HOST_NAME", &worker.name)
            .env("SKYCLAW_HEARTBEAT_MS", "1000")
            .env("SKYCLAW_MAX_PARALLEL", "2")
            .env("SKYCLAW_ALLOWED_COMMANDS", "sh,true")
            .env("SKYCLAW_GRACE_MS", "500")
            .current_dir(&home);
        if !worker.is_near {
            let base = format!("http://{}", worker.cable.address());
            command.env("SKYCLAW_SERVICE_HOST_PUBLIC_BASE_URL", base);
        }
        worker.daemon = Some(Running::start(&mut command, None));
    }

    /// Returns the numbers of all members but this one.
    pub fn all_but(&self, number: usize) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|other| *other != number)
            .collect()
    }

    /// Returns a client of these members that learns of no others.
    pub fn client_of(&self, numbers: &[usize]) -> Client {
        let url = |number: &usize| parse_url(&self.nodes[*number].url()).unwrap();
        let mut settings = Settings::new(numbers.iter().map(url).collect());
        settings.token = Some(Secret::new(TOKEN.to_owned()));
        settings.discover = false;
        Client::new(settings).unwrap()
    }

    /// Returns a client of all members.
    pub fn client(&self) -> Client {
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        self.client_of(&all)
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Returns how many hosts are there.
    pub fn hosts(&self) -> usize {
        let hosts = self.block_on(self.client().hosts());
        hosts.map_or(0, |hosts| hosts.len())
    }

    /// Returns the members as this one sees them; nothing while it cannot say.
    pub fn members(&self, seen_by: usize) -> Vec<Value> {
        let peers = self.block_on(self.client_of(&[seen_by]).peers());
        let members = peers
            .ok()
            .and_then(|peers| peers["members"].as_array().cloned());
        members.unwrap_or_default()
    }

    /// Returns the number of the leader, if some member that runs knows one that runs.
    pub fn leader(&self) -> Option<usize> {
        let up = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.is_up());
        up.map(|(number, _)| number).find_map(|seen_by| {
            let members = self.members(seen_by);
            let leader = members.iter().find(|member| member["leader"] == true)?;
            let at = self
                .nodes
                .iter()
                .position(|node| leader["name"] == node.name.as_str())?;
            self.nodes[at].is_up().then_some(at)
        })
    }

    /// Waits for a leader.
    #[track_caller]
    pub fn await_leader(&self) -> usize {
        let mut found = None;
        eventually(SOON, || {
            found = self.leader();
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until every coordinator that runs is a member with a vote, reachable and level with the leader.
    #[track_caller]
    pub fn whole(&self) {
        let up: Vec<&str> = self
            .nodes
            .iter()
            .filter(|node| node.is_up())
            .map(|node| node.name.as_str())
            .collect();
        let whole = holds_within(SOON, || {
            let Some(leader) = self.leader() else {
                return false;
            };
            let members = self.members(leader);
            up.iter().all(|name| {
                members.iter().any(|member| {
                    member["name"] == *name
                        && member["reachable"] != false
                        && (member["voter"] == true || up.len() > VOTERS)
                        && member["lagRecords"].as_u64().unwrap_or(0) == 0
                })
            })
        });
        let seen: Vec<_> = (0..self.nodes.len())
            .map(|number| self.members(number))
            .collect();
        assert!(whole, "not whole: {seen:#?}");
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn node(net: &mut Net, dir: &Path, number: usize) -> Node {
    let name = format!("c{number}");
    let dir = dir.join(&name);
    std::fs::create_dir(&dir).unwrap();
    Node {
        name,
        cable: net.host(),
        dir,
        process: None,
        env: Vec::new(),
    }
}
