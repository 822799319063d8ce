//! A network with a controller, hosts that are pushed work and hosts whose daemons pull it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use skyclaw::client::{Client, Settings, parse_url};
use skyclaw::protocol::api::{HostRecord, SubmitJob};
use skyclaw::protocol::{JobId, JobRecord, JobStatus, Payload, Requirement};

use crate::common::sshd::within;
use crate::common::{
    FleetHost, Net, NetHost, Running, Sshd, World, eventually, require_network, require_sshd,
};

pub const SOON: Duration = Duration::from_secs(60);
/// The controller's id: fixed, so that daemons can be set up before it runs.
const CONTROLLER: &str = "00c0ffee00c0ffee";

/// A host with its own server; a daemon too, if it pulls.
pub struct Member {
    pub name: String,
    pub cable: NetHost,
    pub server: Sshd,
    pub daemon: Option<Running>,
}

pub struct Site {
    pub controller: Option<Running>,
    pub members: Vec<Member>,
    pub world: World,
    runtime: tokio::runtime::Runtime,
    // Last: what runs in it ends before the network goes.
    _net: Net,
}

impl Site {
    /// Hosts `push1`… and `pull1`…, two slots each; nothing is running but their servers. Nothing where
    /// networks cannot be made.
    pub fn new(push: usize, pull: usize) -> Option<Self> {
        Self::build(push, pull, false)
    }

    /// The same, where every host but the first can only be reached through that one.
    pub fn behind_the_first(push: usize, pull: usize) -> Option<Self> {
        Self::build(push, pull, true)
    }

    fn build(push: usize, pull: usize, behind: bool) -> Option<Self> {
        if !require_sshd() || !require_network() {
            return None;
        }
        let mut net = Net::new();
        let mut world = World::new();
        world.in_namespace(&net.controller());
        let state = world.home().join(".local/state/skyclaw");
        std::fs::create_dir_all(&state).unwrap();
        std::fs::write(state.join("controller-id"), CONTROLLER).unwrap();
        let names = (1..=push).map(|n| format!("push{n}"));
        let names = names.chain((1..=pull).map(|n| format!("pull{n}")));
        let mut members: Vec<Member> = Vec::new();
        let mut hosts: Vec<FleetHost> = Vec::new();
        for name in names {
            let gate = members.first().filter(|_| behind);
            let cable = match gate {
                Some(first) => net.host_behind(&first.cable),
                None => net.host(),
            };
            let server = cable.start(&world);
            let mut host = server.fleet_host(&name).with("slots", 2);
            if behind && !members.is_empty() {
                host = host.with("jump", members[0].name.as_str());
            }
            hosts.push(host);
            members.push(Member {
                name,
                cable,
                server,
                daemon: None,
            });
        }
        world.fleet(&hosts);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut site = Self {
            controller: None,
            members,
            world,
            runtime,
            _net: net,
        };
        for at in push..push + pull {
            site.settle_daemon(at);
            site.start_daemon(at);
        }
        Some(site)
    }

    /// Leaves on a host what a deploy leaves, but for the program: its settings name our controller.
    fn settle_daemon(&self, at: usize) {
        let home = self.members[at].server.home();
        let settings = home.join(".config/skyclaw/host.env");
        std::fs::create_dir_all(settings.parent().unwrap()).unwrap();
        let file = coordinator_file(home);
        let text = format!("SKYCLAW_COORDINATOR_FILE={}\n", file.display());
        std::fs::write(settings, text).unwrap();
    }

    /// Starts the daemon of a host in that host's network.
    pub fn start_daemon(&mut self, at: usize) {
        let member = &mut self.members[at];
        let home = member.server.home();
        let program = env!("CARGO_BIN_EXE_skyclaw");
        let mut command = within(Some(member.cable.namespace()), program.as_ref());
        command
            .arg("host")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", home)
            .env("XDG_STATE_HOME", home.join(".local/state"))
            .env("SKYCLAW_COORDINATOR_FILE", coordinator_file(home))
            .env("SKYCLAW_HOST_NAME", &member.name)
            .env("SKYCLAW_MAX_PARALLEL", "2")
            .env("SKYCLAW_ALLOWED_COMMANDS", "sh,true")
            .env("SKYCLAW_GRACE_MS", "500")
            .env("SKYCLAW_ON_LEASE_LOST", "finish")
            .current_dir(home);
        member.daemon = Some(Running::start(&mut command, None));
    }

    /// Starts the controller and waits until all hosts take work.
    #[track_caller]
    pub fn up(&mut self, more: &[&str]) {
        self.start(more);
        let count = self.members.len();
        eventually(SOON, || self.ready() == count);
    }

    /// Starts the controller.
    #[track_caller]
    pub fn start(&mut self, more: &[&str]) {
        let mut args = vec!["fleet", "up", "--port", "0"];
        args.extend(more);
        let running = self.world.spawn(&args);
        running.wait_for_line(" serves http://", SOON);
        self.controller = Some(running);
    }

    /// Kills the controller, as a power cut would.
    pub fn kill_controller(&mut self) {
        let controller = self.controller.take().unwrap();
        controller.kill9();
        controller.wait(SOON);
    }

    pub fn client(&self) -> Client {
        let socket = self
            .world
            .home()
            .join(".local/state/skyclaw/controller.sock");
        let url = format!("unix:{}", socket.display());
        Client::new(Settings::new(vec![parse_url(&url).unwrap()])).unwrap()
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub fn hosts(&self) -> Vec<HostRecord> {
        // Nobody answers while it starts again.
        self.block_on(self.client().hosts()).unwrap_or_default()
    }

    /// Returns how many hosts take work now.
    pub fn ready(&self) -> usize {
        let hosts = self.hosts();
        hosts.iter().filter(|host| host.blocked.is_none()).count()
    }

    /// Submits a shell script for the host of this name or pattern, or for any.
    pub fn sh(&self, host: Option<&str>, script: &str) -> JobId {
        let job = shell(host, script);
        self.block_on(self.client().submit(&job, None)).unwrap().id
    }

    pub fn record(&self, job: JobId) -> JobRecord {
        self.block_on(self.client().job(job)).unwrap()
    }

    #[track_caller]
    pub fn wait(&self, job: JobId) -> JobRecord {
        let waiting = async { self.client().wait(job, Some(SOON), SOON).await };
        let record = self.block_on(waiting).unwrap();
        assert!(record.status.is_final(), "still going on: {record:?}");
        record
    }

    /// A file that all hosts and this test share: the network is theirs alone, the disk is not.
    pub fn file(&self, name: &str) -> String {
        self.world.dir().join(name).display().to_string()
    }

    #[track_caller]
    pub fn made(&self, name: &str) {
        let path = self.file(name);
        eventually(SOON, || Path::new(&path).exists());
    }
}

pub fn shell(host: Option<&str>, script: &str) -> SubmitJob {
    let payload = serde_json::json!({ "kind": "shell", "command": "sh", "args": ["-c", script] });
    SubmitJob {
        requirement: host.map(Requirement::pinned),
        payload: Some(Payload::of(&payload).unwrap()),
        ..SubmitJob::default()
    }
}

#[track_caller]
pub fn assert_done(job: &JobRecord, attempt: u16) {
    assert_eq!(job.status, JobStatus::Completed, "{job:?}");
    assert_eq!(job.attempts.get(), attempt, "{job:?}");
}

fn coordinator_file(home: &Path) -> PathBuf {
    home.join(format!(".local/state/skyclaw/tunnel/{CONTROLLER}.json"))
}
