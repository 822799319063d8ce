//! How a host daemon is set up. Read from flags and variables by the command line, checked here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::accept::Accept;
use super::allow::ArgvPattern;
use super::services::ServiceSettings;
use super::spare::Condition;
use crate::protocol::HostId;

/// What hosts of the original may run, those of both forms together, and PicoClaw.
pub const DEFAULT_COMMANDS: [&str; 8] = [
    "openclaw",
    "automaton",
    "picoclaw",
    "node",
    "bash",
    "sh",
    "npm",
    "pnpm",
];

/// A task for an agent.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its text.
    pub task: &'a str,
    /// The id of its job.
    pub job: &'a str,
    /// The text must go in on standard input.
    pub on_stdin: bool,
}

/// What to start for a task.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// The program's arguments.
    pub args: Vec<OsString>,
    /// Variables to set.
    pub env: Vec<(String, String)>,
    /// What to send on standard input.
    pub stdin: Option<Vec<u8>>,
}

/// Says what to start for a task, or why it cannot be given to the agent.
pub type Starts = dyn Fn(Asked<'_>) -> Result<Start, String> + Send + Sync;

/// An agent that takes tasks in a way of its own.
#[derive(Clone)]
pub struct TaskAgent {
    /// Its program: a name, a path, or below the home with `~/`.
    pub program: String,
    /// How it takes a task.
    pub starts: Arc<Starts>,
}

impl fmt::Debug for TaskAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskAgent")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// What happens to running jobs once the lease has surely run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLeaseLost {
    /// They are ended: another host may run them by now.
    #[default]
    Kill,
    /// They go on; the result is kept for a day and offered when the coordinator is back.
    Finish,
}

/// The programs behind the job kinds that name none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agents {
    /// For `openclaw-run`.
    pub openclaw: Agent,
    /// For `automaton-run`.
    pub automaton: Agent,
    /// For `picoclaw-task`.
    pub picoclaw: Agent,
}

/// One such program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// A name to be looked for, or a path.
    pub command: String,
    /// The owner named it: it may run even if the list of commands does not have it.
    pub chosen: bool,
}

/// The settings of a host daemon.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The id to register with, if the owner wants a certain one.
    pub id: Option<HostId>,
    /// What people call the host.
    pub name: String,
    /// What it can do; without it, what is found on this machine.
    pub capabilities: Option<Vec<String>>,
    /// What it is labelled with.
    pub labels: BTreeMap<String, String>,
    /// How many jobs run at once.
    pub max_parallel: u16,
    /// Where the daemon keeps its files.
    pub state_dir: PathBuf,
    /// The program to start as the watcher: this one.
    pub program: PathBuf,
    /// The host's own search path.
    pub path: String,
    /// Variables of the daemon's own environment.
    pub environment: BTreeMap<String, String>,
    /// Names of variables that jobs get besides the usual ones.
    pub env_pass: Vec<String>,
    /// Names of variables that payloads may set although they are dangerous.
    pub env_allow: Vec<String>,
    /// Commands that jobs may run.
    pub commands: Vec<String>,
    /// The owner named the commands; one that is missing is then worth a word.
    pub commands_chosen: bool,
    /// Whole argument vectors that jobs may run; without it any arguments.
    pub argv: Option<Vec<ArgvPattern>>,
    /// The programs behind the job kinds that name none.
    pub agents: Agents,
    /// Whose jobs are accepted; empty means everybody's.
    pub accept: Accept,
    /// When work is asked for; empty means always.
    pub claim_when: Vec<Condition>,
    /// Directories that jobs name must lie in it.
    pub workdir: Option<PathBuf>,
    /// Where jobs run that name no directory; without it each in a fresh one.
    pub job_dir: Option<String>,
    /// What runs `picoclaw-task` jobs instead of PicoClaw.
    pub task_agent: Option<TaskAgent>,
    /// Directories of failed jobs are kept.
    pub keep_failed: bool,
    /// How often a coordinator that cannot be waited for is asked for work.
    pub poll: Duration,
    /// Jobs that take less than this on the average are short: some are fetched before a slot is free for them.
    pub short: Duration,
    /// How often the coordinator hears of this host.
    pub heartbeat: Duration,
    /// How long a job may run that does not say.
    pub timeout: Duration,
    /// How long a job may tidy up when it is to end.
    pub grace: Duration,
    /// How long running jobs may go on when the daemon stops.
    pub drain: Duration,
    /// How much of each stream a result keeps, in bytes.
    pub max_output: usize,
    /// What happens to running jobs once the lease has surely run out.
    pub on_lease_lost: OnLeaseLost,
    /// Whether the local OpenClaw is described to the coordinator.
    pub openclaw_profile: bool,
    /// How services are run here.
    pub services: ServiceSettings,
    /// Run what is there, then leave.
    pub once: bool,
}
