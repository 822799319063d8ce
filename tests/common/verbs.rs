//! A coordinator and the verbs of the program pointed at it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::coordinator::{Coordinator, Plan};
use super::run::{Output, Running};

/// Long enough for anything that works.
const LONG: Duration = Duration::from_secs(60);

pub struct Verbs {
    // The process goes before the directory it works in.
    pub coordinator: Coordinator,
    pub dir: tempfile::TempDir,
}

impl Verbs {
    /// A coordinator over what is in this directory, and no host.
    pub fn over(dir: tempfile::TempDir) -> Self {
        Self {
            coordinator: Plan::new(dir.path()).start(),
            dir,
        }
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
        self.start(args).wait(LONG)
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
