//! A coordinator, hosts that follow a script, and the verbs pointed at them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::coordinator::{Coordinator, Plan};
use crate::common::{Output, Running};
use crate::script::{Act, ScriptedHost};

/// Long enough for anything that works.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Place {
    // Hosts go before the coordinator they talk to.
    pub hosts: Vec<ScriptedHost>,
    pub coordinator: Coordinator,
    pub dir: tempfile::TempDir,
}

impl Place {
    /// A coordinator without hosts.
    pub fn quiet() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            hosts: Vec::new(),
            coordinator: Plan::new(dir.path()).start(),
            dir,
        }
    }

    /// With hosts of these names that do well.
    pub fn with(names: &[&str]) -> Self {
        let mut place = Self::quiet();
        for name in names {
            let host = ScriptedHost::start(place.coordinator.address, name, Act::Well);
            place.hosts.push(host);
        }
        place
    }

    /// With one host that does this.
    pub fn acting(act: Act) -> Self {
        let mut place = Self::quiet();
        let host = ScriptedHost::start(place.coordinator.address, "lab", act);
        place.hosts.push(host);
        place
    }

    /// All hosts do this with whatever they are given from now on.
    pub fn act(&self, act: Act) {
        for host in &self.hosts {
            host.act(act.clone());
        }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = bare(self.dir.path(), args);
        command.env("SKYCLAW_COORDINATOR_URL", self.coordinator.url());
        command
    }

    #[track_caller]
    pub fn start(&self, args: &[&str]) -> Running {
        Running::start(&mut self.command(args), None)
    }

    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        self.start(args).wait(SOON)
    }

    /// Runs a verb that must succeed and returns what it printed, without the newline at its end.
    #[track_caller]
    pub fn says(&self, args: &[&str]) -> String {
        self.run(args).expect_code(0).out().trim_end().to_owned()
    }

    /// The service of this id as the coordinator shows it.
    pub fn service(&self, id: &str) -> Value {
        self.coordinator.get(&format!("/v1/services/{id}"))["service"].clone()
    }

    /// A service that nobody's command line asked for; its id.
    pub fn posted(&self, name: &str) -> String {
        let body = json!({"name": name, "command": "sh", "args": ["-c", "true"]});
        let made = self.coordinator.post("/v1/services", &body);
        made["service"]["id"].as_str().unwrap().to_owned()
    }
}

/// The program with nothing of the user's around it.
pub fn bare(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skyclaw"));
    command
        .args(args)
        .env_clear()
        .env("HOME", home)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .current_dir(home);
    command
}
