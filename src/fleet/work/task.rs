//! From a job's payload to the command that a host runs for it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fleet::agent::{AgentPreset, Order, Passing, Session};
use crate::fleet::dispatch::agent_command;
use crate::fleet::file::Host;
use crate::fleet::remote::{Command, Value, Word};
use crate::protocol::api::{JobKind, LeasedJob};
use crate::support::chain::chain;
use crate::support::secret::Secret;

/// How long a job may run where nobody says: as long as with a host daemon.
const TIMEOUT: Duration = Duration::from_secs(300);
/// The least time a job gets, whatever it asks for.
const LEAST_LIMIT: Duration = Duration::from_secs(1);
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Debug)]
pub(super) struct Task {
    pub command: Command,
    pub timeout: Option<Duration>,
    pub grace: Duration,
}

/// Returns what `job` means on `host`, or why it cannot run there, in words for people.
pub(super) fn of(job: &LeasedJob, host: &Host) -> Result<Task, String> {
    let kind: JobKind = serde_json::from_str(job.payload.as_str())
        .map_err(|error| format!("the payload is not understood: {error}"))?;
    let asked = job.timeout_ms.or(kind.timeout_ms());
    let timeout = match (asked, host.timeout) {
        (Some(millis), _) => Some(Duration::from_millis(millis).max(LEAST_LIMIT)),
        (None, Some(limit)) => limit.0,
        (None, None) => Some(TIMEOUT),
    };
    let command = match kind {
        JobKind::Shell {
            command,
            args,
            cwd,
            env,
            ..
        } => {
            let words = std::iter::once(command).chain(args);
            let words = words.map(|word| Word::Plain(word.into_bytes())).collect();
            let command = Command {
                words,
                ..Command::default()
            };
            placed(command, host, cwd, env)
        }
        JobKind::PicoclawTask {
            message,
            session,
            env,
            ..
        } => {
            let command = agent(&message, session.as_deref(), job, host)?;
            placed(command, host, None, env)
        }
        other @ (JobKind::OpenclawRun { .. } | JobKind::AutomatonRun { .. }) => {
            return Err(format!("{} does not run over SSH", other.word()));
        }
    };
    command
        .check()
        .map_err(|error| format!("the command cannot be sent: {error}"))?;
    Ok(Task {
        command,
        timeout,
        grace: GRACE,
    })
}

fn agent(
    message: &str,
    session: Option<&str>,
    job: &LeasedJob,
    host: &Host,
) -> Result<Command, String> {
    let preset = preset(host)?;
    let id = job.id.to_string();
    let order = Order {
        task: message,
        job: &id,
        name: host.name.as_str(),
        host: host.host.as_str(),
        index: 0,
        session: Session::Unsupported,
        passing: Passing::Preferred,
    };
    let made = preset
        .command_line(&order)
        .map_err(|error| format!("the agent cannot be given the task: {error}"))?;
    // A fresh conversation, or the jobs of a host would remember one another.
    Ok(agent_command(made, &preset, session.unwrap_or(&id)))
}

/// Returns the agent that runs tasks on `host`.
pub(super) fn preset(host: &Host) -> Result<AgentPreset, String> {
    match host.agent.as_deref() {
        None => Ok(AgentPreset::Picoclaw),
        Some(text) => AgentPreset::read(text)
            .map_err(|error| format!("the host's agent is no command: {}", chain(&error))),
    }
}

/// Adds directory and environment: the host's own, and what the job says on top.
fn placed(
    command: Command,
    host: &Host,
    directory: Option<String>,
    env: BTreeMap<String, String>,
) -> Command {
    let own = host
        .env
        .iter()
        .filter(|(name, _)| !env.contains_key(*name))
        .map(|(name, value)| (name.clone(), Value::Open(value.clone())));
    let mut all = command.env;
    all.extend(own);
    let given = env
        .into_iter()
        .map(|(name, value)| (name, Value::Hidden(Secret::new(value))));
    all.extend(given);
    Command {
        env: all,
        directory: directory.or_else(|| host.workdir.clone()),
        ..command
    }
}
