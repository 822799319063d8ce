//! A coordinator, a host if one is wanted, and the verbs pointed at them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::coordinator::{Coordinator, Plan};
use crate::common::{Output, Running};

/// Long enough for anything that works.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Place {
    // The processes go before the directory they work in.
    hosts: Vec<Running>,
    pub coordinator: Coordinator,
    pub dir: tempfile::TempDir,
}

impl Place {
    /// A coordinator alone: jobs wait.
    pub fn quiet() -> Self {
        Self::over(tempfile::tempdir().unwrap())
    }

    /// A coordinator over what is in this directory.
    pub fn over(dir: tempfile::TempDir) -> Self {
        Self {
            hosts: Vec::new(),
            coordinator: Plan::new(dir.path()).start(),
            dir,
        }
    }

    /// A coordinator and a host called `lab` that may run `sh`.
    pub fn working() -> Self {
        let mut place = Self::quiet();
        place.add_host("lab");
        place
    }

    pub fn add_host(&mut self, name: &str) {
        let host = Running::start(&mut self.command(&["host", "--name", name]), None);
        host.wait_for_line("host registered", SOON);
        self.hosts.push(host);
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = bare(self.path(), args);
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
