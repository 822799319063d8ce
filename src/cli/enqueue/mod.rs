//! `skyclaw enqueue-…`: asks for jobs. The seeds' verbs, with their arguments.

mod deliver;
mod options;
mod several;

use std::io::Read;
use std::path::Path;

use super::coordinators::CoordinatorArgs;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Format, Output};
use crate::protocol::api::JobKind;

pub use deliver::{AfterArgs, Batch, deliver};
pub use options::{JobArgs, Process};

/// Ask for a job that runs a command
///
/// Prints the job's id. Options of skyclaw come before the command; everything after it is the command's.
/// There is no shell between: write bash -lc '…' for one. The program must be on the host's allowlist.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw enqueue-shell --wait bash -lc \"uptime; df -h /\"\n\nExit codes: 0 accepted, 1 refused, 2 usage or configuration error, 69 no coordinator could be reached.\nWith --wait or --follow: as `skyclaw job wait`, so the job's own code."
)]
pub struct ShellVerb {
    /// The command and its arguments, unchanged
    #[arg(value_name = "CMD", trailing_var_arg = true, required = true)]
    pub command: Vec<String>,
    /// What follows.
    #[command(flatten)]
    pub after: AfterArgs,
    /// What the job is like.
    #[command(flatten)]
    pub job: JobArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// Ask for a job that runs OpenClaw
///
/// Prints the job's id. Options of skyclaw come before the arguments; those are passed on unchanged.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw enqueue-openclaw --wait agent exec \"summarize today's alerts\"\n\nExit codes: 0 accepted, 1 refused, 2 usage or configuration error, 69 no coordinator could be reached.\nWith --wait or --follow: as `skyclaw job wait`, so the job's own code."
)]
pub struct OpenclawVerb {
    /// Arguments of openclaw [default: agent exec]
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub args: Vec<String>,
    /// What the agent is asked, on its standard input
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// What follows.
    #[command(flatten)]
    pub after: AfterArgs,
    /// What the job is like.
    #[command(flatten)]
    pub job: JobArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// Ask for a job that runs Automaton
///
/// Prints the job's id. Options of skyclaw come before the arguments; those are passed on unchanged.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw enqueue-automaton --run\n\nExit codes: 0 accepted, 1 refused, 2 usage or configuration error, 69 no coordinator could be reached.\nWith --wait or --follow: as `skyclaw job wait`, so the job's own code."
)]
pub struct AutomatonVerb {
    /// Arguments of automaton [default: --run]
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub args: Vec<String>,
    /// What follows.
    #[command(flatten)]
    pub after: AfterArgs,
    /// What the job is like.
    #[command(flatten)]
    pub job: JobArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// Ask for a job that hands one task to PicoClaw
///
/// Prints the job's id.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw enqueue-picoclaw --follow \"summarize the last 24h of syslog\"\n\nExit codes: 0 accepted, 1 refused, 2 usage or configuration error, 69 no coordinator could be reached.\nWith --wait or --follow: as `skyclaw job wait`, so the job's own code."
)]
pub struct PicoclawVerb {
    /// What the agent is asked
    #[arg(value_name = "TASK")]
    pub message: String,
    /// Go on with a conversation of this name instead of starting afresh
    #[arg(long, value_name = "KEY")]
    pub session: Option<String>,
    /// What follows.
    #[command(flatten)]
    pub after: AfterArgs,
    /// What the job is like.
    #[command(flatten)]
    pub job: JobArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// Returns the kind of a job that runs `command`.
pub fn shell(command: &[String], process: Process) -> JobKind {
    let mut words = command.iter().cloned();
    JobKind::Shell {
        command: words.next().unwrap_or_default(),
        args: words.collect(),
        argv_b64: Vec::new(),
        stdin: None,
        agent: None,
        cwd: process.directory,
        env: process.env,
        timeout_ms: process.timeout_ms,
        grace_ms: None,
    }
}

impl ShellVerb {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        self.after.json.format()
    }

    /// Runs the verb.
    ///
    /// # Errors
    /// When a flag cannot be used or the coordinator cannot be asked.
    pub async fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let batch = self.job.batch(shell(&self.command, self.job.process()?))?;
        deliver(batch, &self.after, &self.coordinator, output).await
    }
}

impl OpenclawVerb {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        self.after.json.format()
    }

    /// Runs the verb.
    ///
    /// # Errors
    /// When a flag cannot be used or the coordinator cannot be asked.
    pub async fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let process = self.job.process()?;
        let batch = self.job.batch(JobKind::OpenclawRun {
            args: self.args.clone(),
            message: self.message.clone(),
            openclaw_dir: process.directory,
            env: process.env,
            timeout_ms: process.timeout_ms,
            grace_ms: None,
        })?;
        deliver(batch, &self.after, &self.coordinator, output).await
    }
}

impl AutomatonVerb {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        self.after.json.format()
    }

    /// Runs the verb.
    ///
    /// # Errors
    /// When a flag cannot be used or the coordinator cannot be asked.
    pub async fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let process = self.job.process()?;
        let batch = self.job.batch(JobKind::AutomatonRun {
            args: self.args.clone(),
            automaton_dir: process.directory,
            env: process.env,
            timeout_ms: process.timeout_ms,
        })?;
        deliver(batch, &self.after, &self.coordinator, output).await
    }
}

impl PicoclawVerb {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        self.after.json.format()
    }

    /// Runs the verb.
    ///
    /// # Errors
    /// When a flag cannot be used or the coordinator cannot be asked.
    pub async fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let process = self.job.process()?;
        if process.directory.is_some() {
            return Err(Failure::usage("--cwd: PicoClaw works in its own directory").into());
        }
        let batch = self.job.batch(JobKind::PicoclawTask {
            message: self.message.clone(),
            session: self.session.clone(),
            task_stdin: false,
            cwd: None,
            env: process.env,
            timeout_ms: process.timeout_ms,
            grace_ms: None,
        })?;
        deliver(batch, &self.after, &self.coordinator, output).await
    }
}

/// Reads a file that a flag names; `-` is stdin.
///
/// # Errors
/// When it cannot be read or is not text.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::usage(format!("read {}", path.display())).because(error)),
    }
}
