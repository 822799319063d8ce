//! What a job's payload means on this host: which program, with which arguments, where, with what input.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::allow::{Allowed, Refusal};
use super::environment::Environment;
use super::runner::report::{self, NOT_ALLOWED};
use super::runner::{Ran, Task};
use super::settings::{Agent, Agents, Asked, Settings, TaskAgent};
use crate::protocol::api::JobKind;
use crate::protocol::{AttemptNo, JobId, Payload, Reason};
use crate::support::clock::Timestamp;

/// The least time a job gets, whatever it asks for.
const LEAST_LIMIT: Duration = Duration::from_secs(1);

/// What is needed to turn payloads into tasks.
#[derive(Debug)]
pub(super) struct Kinds {
    pub allowed: Allowed,
    pub environment: Environment,
    pub agents: Agents,
    /// The files of agents that the owner named and the list does not have.
    chosen: BTreeMap<String, PathBuf>,
    workdir: Option<PathBuf>,
    job_dir: Option<String>,
    /// With its program's place in the home filled in.
    task_agent: Option<TaskAgent>,
    home: Option<PathBuf>,
    scratch: PathBuf,
    keep_failed: bool,
    timeout: Duration,
    grace: Duration,
    max_output: usize,
}

/// A payload in the form that all kinds have in common.
struct Wanted {
    command: String,
    /// The agent behind the kind, if it has one.
    agent: bool,
    args: Vec<OsString>,
    directory: Option<String>,
    env: BTreeMap<String, String>,
    /// Variables that the program is to be without.
    without: &'static [&'static str],
    timeout_ms: Option<u64>,
    grace_ms: Option<u64>,
    input: Option<Vec<u8>>,
}

impl Kinds {
    /// Looks for the programs that `settings` name. `scratch` is where fresh directories are made.
    pub(super) fn new(settings: &Settings, mark: &str, scratch: PathBuf) -> Self {
        let names = settings.commands.iter().map(String::as_str);
        let agents = [
            &settings.agents.openclaw,
            &settings.agents.automaton,
            &settings.agents.picoclaw,
        ];
        let home = settings.environment.get("HOME").map(PathBuf::from);
        let task_agent = settings.task_agent.clone().map(|agent| TaskAgent {
            program: in_home(home.as_deref(), agent.program),
            ..agent
        });
        let mut chosen: BTreeMap<String, PathBuf> = agents
            .into_iter()
            .filter(|agent| agent.chosen)
            .filter_map(|agent| {
                let file = super::allow::find(&agent.command, &settings.path)?;
                Some((agent.command.clone(), file))
            })
            .collect();
        if let Some(agent) = &task_agent
            && let Some(file) = super::allow::find(&agent.program, &settings.path)
        {
            chosen.insert(agent.program.clone(), file);
        }
        Self {
            allowed: Allowed::resolve(names, settings.argv.clone(), &settings.path),
            environment: Environment::new(
                &settings.environment,
                &settings.env_pass,
                &settings.env_allow,
                mark,
            )
            .only_allowed_if(settings.argv.is_some()),
            agents: settings.agents.clone(),
            chosen,
            workdir: settings.workdir.clone(),
            job_dir: settings.job_dir.clone(),
            task_agent,
            home,
            scratch,
            keep_failed: settings.keep_failed,
            timeout: settings.timeout,
            grace: settings.grace,
            max_output: settings.max_output,
        }
    }

    /// Returns what tests of what is run need, without agents.
    #[cfg(test)]
    pub(super) fn bare(allowed: Allowed, environment: Environment) -> Self {
        let agent = |command: &str| Agent {
            command: command.to_owned(),
            chosen: false,
        };
        Self {
            allowed,
            environment,
            agents: Agents {
                openclaw: agent("openclaw"),
                automaton: agent("automaton"),
                picoclaw: agent("picoclaw"),
            },
            chosen: BTreeMap::new(),
            workdir: None,
            job_dir: None,
            task_agent: None,
            home: None,
            scratch: PathBuf::new(),
            keep_failed: false,
            timeout: Duration::ZERO,
            grace: Duration::ZERO,
            max_output: 0,
        }
    }

    /// Returns the file of an agent, if a job may run it here.
    pub(super) fn agent_file(&self, agent: &Agent) -> Option<PathBuf> {
        self.program(&agent.command, &[], true).ok()
    }

    /// Returns what to run for an attempt, or the report that it cannot run here.
    pub(super) fn task(
        &self,
        job: JobId,
        attempt: AttemptNo,
        payload: &Payload,
        timeout_ms: Option<u64>,
        now: Timestamp,
    ) -> Result<Task, Box<Ran>> {
        let refuse =
            |reason, code, text: String| Box::new(report::failure(reason, code, text, now));
        let kind: JobKind = serde_json::from_str(payload.as_str()).map_err(|error| {
            let text = format!("the payload is not understood: {error}");
            refuse(Reason::NotAllowed, Some(NOT_ALLOWED), text)
        })?;
        let wanted = self
            .wanted(kind, job)
            .map_err(|text| refuse(Reason::NotAllowed, Some(NOT_ALLOWED), text))?;
        let shown: Vec<String> = wanted
            .args
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let program = self
            .program(&wanted.command, &shown, wanted.agent)
            .map_err(|why| match why {
                Refusal::NotAllowed => {
                    let text = format!("command not allowed: {}", wanted.command);
                    refuse(Reason::NotAllowed, Some(NOT_ALLOWED), text)
                }
                Refusal::Missing => {
                    let text = format!("spawn {} ENOENT", wanted.command);
                    refuse(Reason::Spawn, None, text)
                }
            })?;
        let mut env = self
            .environment
            .for_job(job, attempt, &wanted.env)
            .map_err(|name| {
                let text = format!("environment variable not allowed: {name}");
                refuse(Reason::NotAllowed, Some(NOT_ALLOWED), text)
            })?;
        env.retain(|(name, _)| !wanted.without.iter().any(|gone| name == gone));
        let directory = wanted.directory.or_else(|| self.job_dir.clone());
        let directory = directory
            .map(|directory| self.directory(&directory))
            .transpose()
            .map_err(|(reason, text)| {
                let code = (reason == Reason::NotAllowed).then_some(NOT_ALLOWED);
                refuse(reason, code, text)
            })?;
        let limit = timeout_ms
            .or(wanted.timeout_ms)
            .map_or(self.timeout, Duration::from_millis);
        Ok(Task {
            job,
            attempt,
            program,
            name: wanted.command,
            args: wanted.args,
            env,
            scratch: directory.is_none().then(|| self.scratch.clone()),
            directory: directory.unwrap_or_default(),
            keep_failed: self.keep_failed,
            input: wanted.input,
            limit: limit.max(LEAST_LIMIT),
            grace: wanted.grace_ms.map_or(self.grace, Duration::from_millis),
            max_output: self.max_output,
        })
    }

    fn program(&self, command: &str, args: &[String], agent: bool) -> Result<PathBuf, Refusal> {
        match self.allowed.program(command, args) {
            Err(Refusal::NotAllowed) if agent => {
                self.chosen.get(command).cloned().ok_or(Refusal::NotAllowed)
            }
            other => other,
        }
    }

    /// Returns what a payload asks for, or what is wrong with it.
    fn wanted(&self, kind: JobKind, job: JobId) -> Result<Wanted, String> {
        let plain = |command: &str, args: Vec<String>, directory, env, timeout_ms| Wanted {
            command: command.to_owned(),
            agent: true,
            args: args.into_iter().map(OsString::from).collect(),
            directory,
            env,
            without: &[],
            timeout_ms,
            grace_ms: None,
            input: None,
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Ok(match kind {
            JobKind::Shell {
                command,
                args,
                argv_b64,
                stdin,
                agent,
                cwd,
                env,
                timeout_ms,
                grace_ms,
            } => {
                let wanted = Wanted {
                    agent: false,
                    grace_ms,
                    input: stdin.map(String::into_bytes),
                    ..plain(&command, args, cwd, env, timeout_ms)
                };
                let mut wanted = match decoded(&argv_b64)? {
                    None => wanted,
                    Some((command, args)) => Wanted {
                        command,
                        args,
                        ..wanted
                    },
                };
                // An agent may lie in the home of whoever it works for.
                if agent.is_some() {
                    wanted.command = in_home(self.home.as_deref(), wanted.command);
                }
                wanted
            }
            JobKind::OpenclawRun {
                args,
                message,
                openclaw_dir,
                env,
                timeout_ms,
                grace_ms,
            } => {
                // The original's default, `run`, is a command that OpenClaw does not have.
                let (args, input) = match (args.is_empty(), message) {
                    (false, message) => (args, message),
                    (true, None) => (words(&["agent", "exec"]), None),
                    (true, message) => (words(&["agent", "exec", "--message-file", "-"]), message),
                };
                let command = &self.agents.openclaw.command;
                Wanted {
                    grace_ms,
                    input: input.map(String::into_bytes),
                    ..plain(command, args, openclaw_dir, env, timeout_ms)
                }
            }
            JobKind::AutomatonRun {
                args,
                automaton_dir,
                env,
                timeout_ms,
            } => {
                let args = if args.is_empty() {
                    words(&["--run"])
                } else {
                    args
                };
                let command = &self.agents.automaton.command;
                plain(command, args, automaton_dir, env, timeout_ms)
            }
            JobKind::PicoclawTask {
                message,
                session,
                task_stdin,
                cwd,
                mut env,
                timeout_ms,
                grace_ms,
            } => {
                if let Some(agent) = &self.task_agent {
                    let id = job.to_string();
                    let start = (agent.starts)(Asked {
                        task: &message,
                        job: &id,
                        on_stdin: task_stdin,
                    })?;
                    for (name, value) in start.env {
                        env.entry(name).or_insert(value);
                    }
                    return Ok(Wanted {
                        args: start.args,
                        grace_ms,
                        input: start.stdin,
                        ..plain(&agent.program, Vec::new(), cwd, env, timeout_ms)
                    });
                }
                // A fresh conversation, or the jobs of a host would remember one another.
                let session = session.unwrap_or_else(|| format!("agent:main:skyclaw:{job}"));
                let args = match task_stdin {
                    false => words(&["agent", "-m", &message, "-s", &session]),
                    true => words(&["agent", "-s", &session]),
                };
                // It takes every line as a task of its own.
                let input = task_stdin.then(|| format!("{}\n", message.trim_end_matches('\n')));
                if input
                    .as_ref()
                    .is_some_and(|line| line.trim_end_matches('\n').contains('\n'))
                {
                    return Err("with taskStdin the message must be one line".to_owned());
                }
                for (name, value) in [("NO_COLOR", "1"), ("PICOCLAW_LOG_LEVEL", "error")] {
                    env.entry(name.to_owned())
                        .or_insert_with(|| value.to_owned());
                }
                Wanted {
                    // With it PicoClaw prints lines about time zones before the answer.
                    without: &["TZ"],
                    grace_ms,
                    input: input.map(String::into_bytes),
                    ..plain(&self.agents.picoclaw.command, args, cwd, env, timeout_ms)
                }
            }
        })
    }

    /// Checks a directory that a job names.
    pub(super) fn directory(&self, named: &str) -> Result<PathBuf, (Reason, String)> {
        let at_home = named
            .strip_prefix('~')
            .filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let path = match (at_home, &self.home, &self.workdir) {
            // Who keeps jobs to a directory means that one.
            (Some(rest), _, Some(home)) | (Some(rest), Some(home), None) => {
                home.join(rest.trim_start_matches('/'))
            }
            (None, _, Some(below)) => below.join(named),
            (_, _, None) => PathBuf::from(named),
        };
        // Links are followed before it is compared.
        let real = path
            .canonicalize()
            .ok()
            .filter(|real| real.is_dir())
            .ok_or_else(|| {
                let text = format!("directory does not exist: {named}");
                (Reason::Spawn, text)
            })?;
        let inside = self.workdir.as_ref().is_none_or(|below| {
            below
                .canonicalize()
                .is_ok_and(|below| real.starts_with(below))
        });
        if inside {
            Ok(real)
        } else {
            Err((
                Reason::NotAllowed,
                format!("directory not allowed: {named}"),
            ))
        }
    }
}

/// Returns where a program is that may be written with `~/`.
fn in_home(home: Option<&Path>, program: String) -> String {
    match (home, program.strip_prefix("~/")) {
        (Some(home), Some(path)) => home.join(path).to_string_lossy().into_owned(),
        _ => program,
    }
}

/// Returns the program and arguments of a vector in base64; nothing if there is none.
fn decoded(argv: &[String]) -> Result<Option<(String, Vec<OsString>)>, String> {
    let mut words = argv.iter().map(|word| {
        STANDARD
            .decode(word)
            .map(OsString::from_vec)
            .map_err(|_| "argvB64 is not base64".to_owned())
    });
    let Some(program) = words.next().transpose()? else {
        return Ok(None);
    };
    let program = program
        .into_string()
        .map_err(|_| "the program's name is not UTF-8".to_owned())?;
    Ok(Some((program, words.collect::<Result<_, _>>()?)))
}
