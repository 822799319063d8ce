//! A coordinator with services that hosts of the original announced, and gateways in front of them.

use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::common::coordinator::{Coordinator, Plan};
use crate::common::http::{Http, Reply};
use crate::common::{SOON, eventually};

/// One site. Everything in it ends with it.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub coordinator: Coordinator,
    hosts: Cell<usize>,
}

impl Site {
    /// One whose service `api` answers at `url` alone, and a gateway with these arguments.
    pub fn alone(url: &str, args: &[&str]) -> (Self, Gateway) {
        let site = Self::new();
        site.service("api", &[url]);
        let gateway = site.gateway(args);
        (site, gateway)
    }

    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            coordinator: Plan::new(dir.path()).start(),
            dir,
            hosts: Cell::new(0),
        }
    }

    /// Asks for a service with a replica at each of these endpoints; returns its id.
    pub fn service(&self, name: &str, endpoints: &[&str]) -> String {
        self.service_with(name, endpoints, json!({}))
    }

    /// The same with more fields.
    pub fn service_with(&self, name: &str, endpoints: &[&str], more: Value) -> String {
        let mut ask = json!({"name": name, "command": "node", "replicas": endpoints.len().max(1)});
        let fields = more.as_object().unwrap().clone();
        ask.as_object_mut().unwrap().extend(fields);
        // The hosts are there first, as they are in life.
        let hosts: Vec<String> = endpoints.iter().map(|_| self.host()).collect();
        let id = self.coordinator.post("/v1/services", &ask)["service"]["id"].clone();
        let id = id.as_str().unwrap().to_owned();
        for (host, endpoint) in hosts.iter().zip(endpoints) {
            let claim = format!("/v1/hosts/{host}/services/claim");
            let taken = self.coordinator.post(&claim, &json!({}));
            assert_eq!(taken["service"]["id"], id, "{taken}");
            self.report(&id, host, "running", endpoint);
        }
        id
    }

    /// Registers one more host; returns its id.
    fn host(&self) -> String {
        self.hosts.set(self.hosts.get() + 1);
        let host = format!("lab-{}", self.hosts.get());
        let register = json!({"name": host, "hostId": host, "capabilities": ["service-host"]});
        self.coordinator.post("/v1/hosts/register", &register);
        host
    }

    /// Has a host say how its replica does.
    pub fn report(&self, service: &str, host: &str, status: &str, endpoint: &str) {
        let path = format!("/v1/services/{service}/report");
        let report = json!({"hostId": host, "status": status, "endpoint": endpoint});
        self.coordinator.post(&path, &report);
    }

    /// Starts a gateway that asks this site's coordinator often.
    pub fn gateway(&self, args: &[&str]) -> Gateway {
        self.gateway_with(args, &[])
    }

    pub fn gateway_with(&self, args: &[&str], env: &[(&str, &str)]) -> Gateway {
        let mut command = command(self.dir.path(), &self.coordinator.url());
        command.args(args).envs(env.iter().copied());
        Gateway::start(command)
    }
}

/// Returns `skyclaw gateway` on a port of its own, in a hurry, with nothing of this machine's environment.
pub fn command(dir: &Path, coordinator: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skyclaw"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", dir)
        .env("SKYCLAW_COORDINATOR_URL", coordinator)
        .env("SKYCLAW_GATEWAY_PORT", "0")
        .env("SKYCLAW_GATEWAY_REFRESH_MS", "100")
        .env("SKYCLAW_GATEWAY_HEALTH_PROBE_MS", "100")
        .current_dir(dir)
        .arg("gateway");
    command
}

/// A running gateway, killed on drop.
pub struct Gateway {
    child: Child,
    pub address: SocketAddr,
}

impl Gateway {
    /// Returns how often its one endpoint has failed.
    pub fn failures(&self) -> u64 {
        let metrics = self.text("/metrics");
        let name = "skyclaw_gateway_endpoint_failures_total{";
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("[skyclaw] gateway listening on http")
            .and_then(|rest| rest.trim_start_matches('s').strip_prefix("://"))
            .and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            panic!("the gateway did not start: {line:?} {:?}", child.wait());
        };
        Self { child, address }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Opens a connection that is kept.
    pub fn connect(&self) -> Http {
        Http::connect(self.address).unwrap()
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, b"")
    }

    #[track_caller]
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        self.connect().send(method, path, body).unwrap()
    }

    /// Returns the text of a good answer.
    #[track_caller]
    pub fn text(&self, path: &str) -> String {
        String::from_utf8(self.get(path).expect(200).body).unwrap()
    }

    /// Waits until `/health` names exactly these.
    #[track_caller]
    pub fn until_it_knows(&self, names: &[&str]) {
        eventually(SOON, || {
            self.get("/health").json()["services"] == json!(names)
        });
    }

    /// Waits until a number of `/metrics` is this.
    #[track_caller]
    pub fn until_counted(&self, line: &str) {
        eventually(SOON, || {
            self.text("/metrics").lines().any(|one| one == line)
        });
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Returns how much memory it has now (`VmRSS`) or had at most (`VmHWM`), in bytes.
    pub fn memory(&self, which: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(which)).unwrap();
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib << 10
    }

    /// Waits for its end and returns its exit code.
    pub fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the text of an error.
#[track_caller]
pub fn error(reply: &Reply) -> String {
    let body: Value = reply.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    body["error"].as_str().unwrap().to_owned()
}
