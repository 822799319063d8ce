//! A task as a job's payload, and a payload as what an SSH host is sent.
//!
//! Whoever holds the job runs the same: a daemon reads the payload itself, a push worker makes the
//! [`Command`] of it that an in-process run would have sent.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::fleet::agent::{self, AgentPreset, Order, Passing, Session};
use crate::fleet::dispatch::agent_command;
use crate::fleet::file::Host;
use crate::fleet::remote::{self, Command, Input, Value, Word};
use crate::protocol::JobId;
use crate::protocol::api::JobKind;
use crate::support::secret::Secret;

/// A payload that no command can be made of. Trying again does not help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field holds what it must not.
    #[error("the payload's {0}")]
    Field(&'static str),
    /// No push worker runs this kind.
    #[error("{0} does not run over SSH")]
    Kind(&'static str),
    /// The agent of the host is no command.
    #[error("the host's agent is no command")]
    Preset(#[from] agent::template::Error),
    /// The agent cannot be given the task.
    #[error("the agent cannot be given the task")]
    Agent(#[from] agent::Error),
    /// The command cannot be sent.
    #[error("the command cannot be sent")]
    Command(#[from] remote::Error),
}

/// Returns what `host` is sent to do `job`. A payload that says less than a run of the fleet would (no
/// directory, no environment) gets what the fleet file says of the host.
///
/// # Errors
/// When the payload cannot be run over SSH.
pub fn command(kind: &JobKind, job: JobId, host: &Host) -> Result<Command, Error> {
    let (mut command, cwd, env) = match kind.clone() {
        JobKind::Shell {
            command,
            args,
            argv_b64,
            stdin,
            agent,
            cwd,
            env,
            ..
        } => {
            let words = match argv_b64.is_empty() {
                true => std::iter::once(command)
                    .chain(args)
                    .map(String::into_bytes)
                    .collect(),
                false => decoded(&argv_b64)?,
            };
            let made = Command {
                words: words_of(words, agent.is_some()),
                input: stdin.map_or(Input::Nothing, |text| Input::Text(text.into_bytes())),
                must_be_installed: agent.is_some(),
                end_leftovers: agent.is_some(),
                ..Command::default()
            };
            (made, cwd, env)
        }
        JobKind::PicoclawTask {
            message,
            session,
            task_stdin,
            cwd,
            env,
            ..
        } => {
            let passing = match task_stdin {
                true => Passing::Stdin,
                false => Passing::Preferred,
            };
            // A task is for the agent that runs tasks there.
            let preset = preset(host)?;
            let id = job.to_string();
            let made = preset.command_line(&Order {
                job: &id,
                ..order(&message, passing, host)
            })?;
            // A fresh conversation, or the jobs of a host would remember one another.
            let session = session.unwrap_or(id);
            (agent_command(made, &preset, &session), cwd, env)
        }
        JobKind::OpenclawRun { .. } | JobKind::AutomatonRun { .. } => {
            return Err(Error::Kind(kind.word()));
        }
    };
    command.directory = cwd.or_else(|| host.workdir.clone());
    if command.directory.as_deref() == Some("~") {
        command.directory = None;
    }
    let own = host.env.iter().filter(|(name, _)| !env.contains_key(*name));
    let open = |(name, value): (&String, &String)| (name.clone(), Value::Open(value.clone()));
    command.env.extend(own.map(open));
    // Whoever submitted them knows what they are; we do not.
    let given = env
        .iter()
        .map(|(name, value)| (name.clone(), Value::Hidden(Secret::new(value.clone()))));
    command.env.extend(given);
    command.check()?;
    Ok(command)
}

/// Returns the agent that runs tasks on `host`.
///
/// # Errors
/// When what the fleet file says is no command.
pub fn preset(host: &Host) -> Result<AgentPreset, agent::template::Error> {
    match host.agent.as_deref() {
        None => Ok(AgentPreset::Picoclaw),
        Some(text) => AgentPreset::read(text),
    }
}

/// Returns the payload of a command; its words in base64 if they are not all text.
pub(super) fn shell(
    words: Vec<Vec<u8>>,
    stdin: Option<String>,
    agent: Option<String>,
    cwd: Option<String>,
    env: BTreeMap<String, String>,
) -> JobKind {
    let is_text = words.iter().all(|word| std::str::from_utf8(word).is_ok());
    let argv_b64 = match is_text {
        true => Vec::new(),
        false => words.iter().map(|word| STANDARD.encode(word)).collect(),
    };
    let mut words = words
        .into_iter()
        .map(|word| String::from_utf8_lossy(&word).into_owned());
    JobKind::Shell {
        command: words.next().unwrap_or_default(),
        args: words.collect(),
        argv_b64,
        stdin,
        agent,
        cwd,
        env,
        timeout_ms: None,
        grace_ms: None,
    }
}

fn order<'a>(task: &'a str, passing: Passing, host: &'a Host) -> Order<'a> {
    Order {
        task,
        job: "",
        name: host.name.as_str(),
        host: host.host.as_str(),
        index: 0,
        session: Session::Unsupported,
        passing,
    }
}

/// Returns the words of a command. Only the program of an agent may lie in the home.
fn words_of(words: Vec<Vec<u8>>, is_agent: bool) -> Vec<Word> {
    let mut words: Vec<Word> = words.into_iter().map(Word::Plain).collect();
    if let Some(Word::Plain(program)) = words.first()
        && is_agent
        && let Some(rest) = program.strip_prefix(b"~/")
        && let Ok(path) = String::from_utf8(rest.to_vec())
        && let Some(first) = words.first_mut()
    {
        *first = Word::InHome(path);
    }
    words
}

fn decoded(argv: &[String]) -> Result<Vec<Vec<u8>>, Error> {
    argv.iter()
        .map(|word| STANDARD.decode(word))
        .collect::<Result<_, _>>()
        .map_err(|_| Error::Field("argvB64 is not base64"))
}
