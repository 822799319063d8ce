//! A controller whose socket leads to a coordinator, and daemons as hosts: all that following needs.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::common::coordinator::{Coordinator, Plan};
use crate::common::{FleetHost, Output, Running, World, eventually};

pub const SOON: Duration = Duration::from_secs(60);

pub struct Bed {
    pub world: World,
    target: Arc<Mutex<Option<SocketAddr>>>,
    coordinator: Option<Coordinator>,
}

impl Bed {
    /// A fleet of these names, none of which can be reached from here, and a coordinator.
    pub fn new(names: &[&str]) -> Self {
        let world = World::new();
        let hosts: Vec<FleetHost> = names
            .iter()
            // Nobody listens there: whatever arrives came through the coordinator.
            .map(|name| FleetHost::new(name, "127.0.0.1", 1))
            .collect();
        world.fleet(&hosts);
        let mut bed = Self {
            world,
            target: Arc::default(),
            coordinator: None,
        };
        bed.start_coordinator();
        bed.lead(&bed.socket());
        bed
    }

    pub fn start_coordinator(&mut self) {
        let plan = Plan::new(self.world.dir()).env("SKYCLAW_LEASE_MS", "5000");
        let coordinator = plan.start();
        *self.target.lock().unwrap() = Some(coordinator.address);
        self.coordinator = Some(coordinator);
    }

    pub fn kill_coordinator(&mut self) {
        *self.target.lock().unwrap() = None;
        self.coordinator.take().unwrap().kill();
    }

    pub fn coordinator(&self) -> &Coordinator {
        self.coordinator.as_ref().unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.world
            .home()
            .join(".local/state/skyclaw/controller.sock")
    }

    /// Passes on what comes to `socket` to the coordinator of the moment.
    fn lead(&self, socket: &Path) {
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        let target = Arc::clone(&self.target);
        std::thread::spawn(move || {
            for from in listener.incoming().flatten() {
                let to = *target.lock().unwrap();
                if let Some(Ok(to)) = to.map(TcpStream::connect) {
                    std::thread::spawn(move || pass(from, to));
                }
            }
        });
    }

    /// A daemon that is registered under this name and may run anything.
    pub fn host(&self, name: &str, vars: &[(&str, &str)]) -> Running {
        let home = self.world.dir().join(format!("host-{name}"));
        std::fs::create_dir_all(&home).unwrap();
        let mut command = self.world.command(&["host"]);
        command
            .env("HOME", &home)
            .env("XDG_STATE_HOME", home.join("state"))
            .env(
                "SKYCLAW_COORDINATOR_URL",
                format!("unix:{}", self.socket().display()),
            )
            .env("SKYCLAW_HOST_NAME", name)
            .env("SKYCLAW_ALLOWED_COMMANDS", "*")
            .envs(vars.iter().copied());
        let running = Running::start(command, None);
        running.wait_for_line("host registered", SOON);
        running
    }

    pub fn home_of(&self, name: &str) -> PathBuf {
        self.world.dir().join(format!("host-{name}"))
    }

    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        self.world.skyclaw(args)
    }

    /// The runs that the coordinator has, newest first.
    pub fn runs(&self) -> Vec<Value> {
        let groups = self.coordinator().get("/v1/groups");
        groups["groups"].as_array().unwrap().clone()
    }

    /// A file that tasks may write.
    pub fn file(&self, name: &str) -> String {
        self.world.dir().join(name).display().to_string()
    }

    #[track_caller]
    pub fn wait_for_file(&self, name: &str) {
        let file = self.world.dir().join(name);
        eventually(SOON, || file.exists());
    }
}

/// Copies both ways until both are done.
fn pass(from: UnixStream, to: TcpStream) {
    let (mut from_read, mut to_write) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let there = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_read, &mut to_write);
        let _ = to_write.shutdown(std::net::Shutdown::Write);
    });
    let (mut to, mut from) = (to, from);
    let _ = std::io::copy(&mut to, &mut from);
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = there.join();
}

impl Bed {
    /// Puts the coordinator's database where that of a controller is.
    pub fn adopt_database(&self) {
        let state = self.world.home().join(".local/state/skyclaw");
        for ending in ["", "-wal", "-shm"] {
            let from = self.world.dir().join(format!("coordinator.db{ending}"));
            if from.exists() {
                std::fs::rename(from, state.join(format!("controller.db{ending}"))).unwrap();
            }
        }
    }
}
