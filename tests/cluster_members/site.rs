//! Coordinators of one test, each with an address, a directory and a database of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::http::{Http, Reply};
use crate::common::{Output, Running, eventually, holds_within};

/// Long enough for a busy machine; nothing waits for it when all is well.
pub const SOON: Duration = Duration::from_secs(60);
const PORT: u16 = 8787;

static NODES: AtomicU32 = AtomicU32::new(0);

/// A coordinator, running or not. What runs is killed on drop.
pub struct Node {
    pub name: String,
    address: SocketAddr,
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
    args: Vec<String>,
    host: String,
    running: Option<Running>,
}

/// The whole loopback network is this machine: an address of its own for each, so that all may know each other's from
/// the beginning and no port is anybody else's.
fn fresh_address() -> SocketAddr {
    // From 1 to 14, so that no address ends in 0 or 255.
    let number = NODES.fetch_add(1, Ordering::Relaxed) % 14 + 1;
    let [_, b, c, d] = ((std::process::id() << 4) | number).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, b, c, d), PORT))
}

impl Node {
    /// One with nothing in it.
    pub fn new(name: &str) -> Self {
        let address = fresh_address();
        Self {
            name: name.to_owned(),
            address,
            dir: tempfile::tempdir().unwrap(),
            env: Vec::new(),
            args: Vec::new(),
            host: address.ip().to_string(),
            running: None,
        }
    }

    /// Several of them.
    pub fn all<const N: usize>(names: [&str; N]) -> [Self; N] {
        names.map(Self::new)
    }

    /// Three that are one cluster, each with a vote: the first began it, the others joined through that.
    #[track_caller]
    pub fn three() -> [Self; 3] {
        let mut nodes = Self::all(["a", "b", "c"]);
        Self::together(&mut nodes);
        nodes
    }

    /// Makes these one cluster, each with a vote: the first begins it, the others join through that.
    #[track_caller]
    pub fn together(nodes: &mut [Self; 3]) {
        nodes[0].start();
        let first = nodes[0].url();
        for node in &mut nodes[1..] {
            node.told_of(&[&first]).start();
        }
        settled(&nodes.each_ref(), 3, 3);
        // Until then the change is half done, and needs all who were there before.
        nodes[0].logs("voters=3");
    }

    /// Another machine with a copy of what this one has. Neither runs.
    pub fn copied(&self) -> Self {
        assert!(self.running.is_none(), "not while it runs");
        let copy = Self::new(&self.name);
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let file = entry.unwrap();
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), copy.dir.path().join(file.file_name())).unwrap();
            }
        }
        copy
    }

    /// Is somewhere else from the next start on.
    pub fn move_away(&mut self) -> &mut Self {
        self.address = fresh_address();
        self.host = self.address.ip().to_string();
        self
    }

    /// With one more variable, from the next start on.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With one more argument, from the next start on.
    pub fn arg(&mut self, arg: &str) -> &mut Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Called otherwise, from the next start on.
    pub fn rename(&mut self, name: &str) -> &mut Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Listens on all addresses of the machine.
    pub fn everywhere(&mut self) -> &mut Self {
        // Nobody else listens on that port of this address: the port is taken from the system.
        let port = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        self.address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.local_addr().unwrap().port()));
        "0.0.0.0".clone_into(&mut self.host);
        self
    }

    /// Told of these.
    pub fn told_of(&mut self, others: &[&str]) -> &mut Self {
        self.env("SKYCLAW_PEER_URLS", &others.join(","))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn db(&self) -> PathBuf {
        self.dir.path().join("coordinator.db")
    }

    pub fn command(&self) -> Box<Command> {
        let mut command = self.skyclaw(&["coordinator", "-v", "--host", &self.host, "--port"]);
        command
            .arg(self.address.port().to_string())
            .arg("--db")
            .arg(self.db())
            .args(["--node-id", &self.name])
            .args(&self.args)
            .envs(self.env.iter().cloned());
        command
    }

    /// Any verb, as its owner would type it.
    pub fn skyclaw(&self, args: &[&str]) -> Box<Command> {
        let mut command = Box::new(Command::new(env!("CARGO_BIN_EXE_skyclaw")));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .current_dir(self.dir.path())
            .args(args);
        command
    }

    /// Runs a verb to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        Running::start(self.skyclaw(args), None).wait(SOON)
    }

    /// Starts it and waits until it listens.
    #[track_caller]
    pub fn start(&mut self) -> &mut Self {
        let running = Running::start(self.command(), None);
        running.wait_for_line("listening on", SOON);
        self.running = Some(running);
        self
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("it was started")
    }

    /// Waits for a line of its log.
    #[track_caller]
    pub fn logs(&self, needle: &str) -> String {
        self.running().wait_for_error_line(needle, SOON)
    }

    /// Kills it as a power cut would, as far as a process can be.
    #[track_caller]
    pub fn kill(&mut self) {
        let running = self.running.take().expect("it runs");
        running.kill9();
        running.wait(SOON);
    }

    /// Hands its process over to the test.
    #[track_caller]
    pub fn take(&mut self) -> Running {
        self.running.take().expect("it runs")
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn ended(&mut self) -> Output {
        self.running.take().expect("it was started").wait(SOON)
    }

    /// Starts it, and waits until it ends in trouble by itself. Returns what it said.
    #[track_caller]
    pub fn fails(&self) -> String {
        Running::start(self.command(), None)
            .wait(SOON)
            .expect_code(1)
            .err()
    }

    /// Tells whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !self.running.as_mut().expect("it was started").is_running()
    }

    /// Stops it as an operator does.
    #[track_caller]
    pub fn stop(&mut self) {
        let running = self.running.take().expect("it runs");
        running.terminate();
        running.wait(SOON).expect_code(0);
    }

    /// Loses its disk.
    pub fn wipe(&mut self) {
        assert!(self.running.is_none(), "not while it runs");
        self.dir = tempfile::tempdir().unwrap();
    }

    /// Sends one JSON request; nothing if nobody answers.
    pub fn try_call(&self, method: &str, path: &str, body: &Value) -> Option<Reply> {
        let body = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let mut http = Http::connect(self.address).ok()?;
        if let Some((_, token)) = self.env.iter().find(|(name, _)| name == "SKYCLAW_TOKEN") {
            http = http.with("x-skyclaw-token", token);
        }
        http.send(method, path, &body).ok()
    }

    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.try_call(method, path, body)
            .unwrap_or_else(|| panic!("{}: {method} {path}: no answer", self.name))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.call("GET", path, &Value::Null).expect(200).json()
    }

    /// Submits a job, however long it takes until somebody accepts it. Returns its id.
    #[track_caller]
    pub fn submit(&self, mark: &str) -> String {
        let mut id = None;
        eventually(SOON, || {
            id = self.try_submit(mark);
            id.is_some()
        });
        id.unwrap()
    }

    /// Submits a job once. Returns its id if it was accepted.
    pub fn try_submit(&self, mark: &str) -> Option<String> {
        let body = json!({"payload": {"kind": "shell", "command": "true", "args": [mark]}});
        let reply = self.try_call("POST", "/v1/jobs", &body)?;
        let id = || reply.json()["job"]["id"].as_str().map(str::to_owned);
        (reply.status == 200).then(id).flatten()
    }

    /// Tells whether it knows of a job, by its own file.
    pub fn has(&self, job: &str) -> bool {
        let path = format!("/v1/jobs/{job}?consistency=local");
        let reply = self.try_call("GET", &path, &Value::Null);
        reply.is_some_and(|reply| reply.status == 200)
    }

    /// Returns what it says of the members; nothing while it does not.
    pub fn peers(&self) -> Option<Value> {
        let reply = self.try_call("GET", "/v1/network/peers", &Value::Null)?;
        (reply.status == 200).then(|| reply.json())
    }

    /// Tells whether by its word one of the members is reached at `url`.
    pub fn knows(&self, url: &str) -> bool {
        let peers = self.peers().unwrap_or_default();
        let members = peers["members"].as_array().cloned().unwrap_or_default();
        members.iter().any(|member| member["url"] == url)
    }

    /// Returns its number.
    pub fn id(&self) -> Option<String> {
        let peers = self.peers()?;
        let members = peers["members"].as_array()?;
        let own = members
            .iter()
            .find(|member| member["name"] == self.name.as_str())?;
        Some(own["id"].as_str()?.to_owned())
    }
}

/// Returns how many members it says there are, and how many of them vote.
pub fn counted(node: &Node) -> (usize, usize) {
    let peers = node.peers().unwrap_or_default();
    if peers["cluster"].is_null() {
        return (0, 0);
    }
    let members = peers["members"].as_array().cloned().unwrap_or_default();
    let voters = members.iter().filter(|member| member["voter"] == true);
    (members.len(), voters.count())
}

/// Waits until each of them counts so many members and voters and knows the same leader.
#[track_caller]
pub fn settled(nodes: &[&Node], members: usize, voters: usize) {
    let mut last = Vec::new();
    let settled = holds_within(SOON, || {
        last = nodes.iter().filter_map(|node| node.peers()).collect();
        let leaders: Vec<&str> = last
            .iter()
            .filter_map(|peers| peers["leader"].as_str())
            .collect();
        last.len() == nodes.len()
            && leaders.len() == nodes.len()
            && leaders.windows(2).all(|two| two[0] == two[1])
            && nodes.iter().all(|node| counted(node) == (members, voters))
    });
    assert!(
        settled,
        "not {members} members with {voters} votes: {last:#?}"
    );
}

/// Returns which of them leads.
#[track_caller]
pub fn leader(nodes: &[&Node]) -> usize {
    let mut found = None;
    eventually(SOON, || {
        found = nodes.iter().position(|node| {
            let peers = node.peers().unwrap_or_default();
            let members = peers["members"].as_array().cloned().unwrap_or_default();
            members
                .iter()
                .any(|member| member["leader"] == true && member["name"] == node.name.as_str())
                && peers["leader"].is_string()
        });
        found.is_some()
    });
    found.unwrap()
}

/// Waits until each of them has the job in its own file.
#[track_caller]
pub fn all_have(nodes: &[&Node], job: &str) {
    for node in nodes {
        assert!(
            holds_within(SOON, || node.has(job)),
            "{} has no {job}",
            node.name
        );
    }
}
