//! From tasks or a command to the units of a run: what each host will run, decided before any host is
//! contacted.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use crate::fleet::agent::{self, AgentCommand, AgentPreset, Order, Passing, Program, Session};
use crate::fleet::file::Host;
use crate::fleet::payload;
use crate::fleet::remote::{self, Command, Input, Sudo, Value, Word};
use crate::fleet::run::{MakeCommand, Unit};
use crate::protocol::api::JobKind;
use crate::protocol::{JobId, Payload};
use crate::support::mask::is_secret_name;

/// What to run.
#[derive(Debug, Clone)]
pub enum Work {
    /// Tasks for an agent.
    Tasks {
        /// Their texts.
        texts: Vec<String>,
        /// The agent, where a host names none.
        agent: Option<AgentPreset>,
        /// Which conversation they belong to.
        session: Option<String>,
        /// How the text reaches the agent.
        passing: Passing,
    },
    /// Commands.
    Commands(Vec<Vec<Vec<u8>>>),
}

/// How tasks meet hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Every task on every host.
    Each,
    /// Every task once, on whichever host is free.
    Once,
}

/// What all commands of a run have in common.
#[derive(Debug, Clone, Default)]
pub struct Common {
    /// Variables on top of the host's own.
    pub env: Vec<(String, Value)>,
    /// The directory, instead of the host's own.
    pub directory: Option<String>,
    /// The user to become.
    pub sudo: Option<Sudo>,
    /// Whether `{name}`, `{host}` and `{index}` in the text stand for the host.
    pub fill_in: bool,
}

/// Work that cannot be done as asked; nothing has been contacted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An agent cannot be given its task.
    #[error("task {}", task + 1)]
    Agent {
        /// Which task, from 0.
        task: usize,
        /// Why.
        #[source]
        source: agent::Error,
    },
    /// The agent of a host is no command.
    #[error("the agent of host {host}")]
    Template {
        /// Which host.
        host: String,
        /// Why.
        #[source]
        source: agent::template::Error,
    },
    /// A command cannot be sent.
    #[error("task {}", task + 1)]
    Command {
        /// Which task, from 0.
        task: usize,
        /// Why.
        #[source]
        source: remote::Error,
    },
}

/// The units of a run and how each becomes a command.
pub struct Prepared {
    /// One for each job.
    pub units: Vec<Unit>,
    /// Makes the command of a unit for a host.
    pub command: Box<MakeCommand>,
    /// What was asked for and is not written down, as flags.
    pub kept_back: Vec<String>,
    /// What the payloads of units that any host may take cannot say, because hosts differ in it.
    pub differs: Option<&'static str>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("units", &self.units.len())
            .finish_non_exhaustive()
    }
}

/// Prepares `work` for `hosts`.
///
/// # Errors
/// When some host could not be given some task.
pub fn prepare(
    work: Work,
    spread: Spread,
    common: Common,
    hosts: &[Arc<Host>],
) -> Result<Prepared, Error> {
    let agents = agents_of(&work, hosts)?;
    let positions = hosts
        .iter()
        .enumerate()
        .map(|(at, host)| (host.name.to_string(), at))
        .collect();
    let maker = Maker {
        work,
        common,
        agents,
        positions,
    };
    let mut units = Vec::new();
    for task in 0..maker.work.len() {
        match spread {
            Spread::Once => units.push(maker.unit(task, None, hosts)),
            Spread::Each => {
                units.extend((0..hosts.len()).map(|at| maker.unit(task, Some(at), hosts)));
            }
        }
    }
    // What cannot be sent is found out now, not on the third host an hour later.
    for unit in &units {
        let candidates = match unit.host {
            Some(at) => hosts.get(at..=at).unwrap_or_default(),
            None => hosts,
        };
        for host in candidates {
            let command = maker.make(unit, host)?;
            command.check().map_err(|source| Error::Command {
                task: unit.task,
                source,
            })?;
        }
    }
    let kept_back = maker.kept_back(hosts);
    let differs = match spread {
        _ if maker.overrides_an_agent(hosts) => Some("`agent`"),
        Spread::Once => maker.differs(hosts),
        Spread::Each => None,
    };
    let command = Box::new(move |unit: &Unit, host: &Host| {
        // Checked above for every host that can get the unit.
        maker.make(unit, host).unwrap_or_default()
    });
    Ok(Prepared {
        units,
        command,
        kept_back,
        differs,
    })
}

struct Maker {
    work: Work,
    common: Common,
    /// By host name, where the host names its own.
    agents: BTreeMap<String, AgentPreset>,
    positions: BTreeMap<String, usize>,
}

fn agents_of(work: &Work, hosts: &[Arc<Host>]) -> Result<BTreeMap<String, AgentPreset>, Error> {
    let Work::Tasks { agent: None, .. } = work else {
        return Ok(BTreeMap::new());
    };
    let mut agents = BTreeMap::new();
    for host in hosts {
        if let Some(text) = &host.agent {
            let preset = AgentPreset::read(text).map_err(|source| Error::Template {
                host: host.name.to_string(),
                source,
            })?;
            agents.insert(host.name.to_string(), preset);
        }
    }
    Ok(agents)
}

impl Work {
    fn len(&self) -> usize {
        match self {
            Self::Tasks { texts, .. } => texts.len(),
            Self::Commands(commands) => commands.len(),
        }
    }
}

impl Maker {
    fn unit(&self, task: usize, host: Option<usize>, hosts: &[Arc<Host>]) -> Unit {
        // What differs from host to host is worked out for the one it is meant for.
        let model = hosts.get(host.unwrap_or(0));
        let job = JobId::fresh();
        let kind = model.and_then(|model| self.kind(task, job, model));
        Unit {
            job,
            task,
            host,
            payload: kind
                .and_then(|kind| Payload::of(&kind).ok())
                .unwrap_or_else(Payload::empty),
        }
    }

    /// Returns what a job says so that any holder of it does the same as we would on `host`.
    fn kind(&self, task: usize, job: JobId, host: &Host) -> Option<JobKind> {
        let index = self.positions.get(host.name.as_str()).copied().unwrap_or(0);
        let env: BTreeMap<String, String> = host
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .chain(
                self.common
                    .env
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), value.open()?.to_owned()))),
            )
            .filter(|(name, _)| !is_secret_name(name))
            .collect();
        let directory = self.common.directory.as_ref().or(host.workdir.as_ref());
        let cwd = Some(match directory.map(String::as_str) {
            None => "~".to_owned(),
            Some(path) if path.starts_with(['/', '~']) => path.to_owned(),
            Some(path) => format!("~/{path}"),
        });
        let Work::Tasks {
            texts,
            session,
            passing,
            ..
        } = &self.work
        else {
            return Some(self.shell(task, host, index, cwd, env));
        };
        let message = self.filled(texts.get(task)?, host, index);
        Some(match self.preset(host) {
            AgentPreset::Picoclaw => JobKind::PicoclawTask {
                message,
                session: session.as_deref().map(agent::picoclaw::session_key),
                task_stdin: *passing == Passing::Stdin,
                cwd,
                env,
                timeout_ms: None,
                grace_ms: None,
            },
            AgentPreset::Openclaw | AgentPreset::Custom(_) => {
                self.custom((task, job), host, index, cwd, env)?
            }
        })
    }

    fn shell(
        &self,
        task: usize,
        host: &Host,
        index: usize,
        cwd: Option<String>,
        env: BTreeMap<String, String>,
    ) -> JobKind {
        let words: Vec<Vec<u8>> = match &self.work {
            Work::Commands(commands) => commands
                .get(task)
                .into_iter()
                .flatten()
                .map(|word| self.filled_bytes(word, host, index))
                .collect(),
            Work::Tasks { .. } => Vec::new(),
        };
        payload::shell(words, None, None, cwd, env)
    }

    /// The command of somebody's own agent, worked out for this host.
    fn custom(
        &self,
        (task, job): (usize, JobId),
        host: &Host,
        index: usize,
        cwd: Option<String>,
        mut env: BTreeMap<String, String>,
    ) -> Option<JobKind> {
        let Work::Tasks { texts, passing, .. } = &self.work else {
            return None;
        };
        let preset = self.preset(host);
        let text = self.filled(texts.get(task)?, host, index);
        let job = job.to_string();
        let order = Order {
            task: &text,
            job: &job,
            name: host.name.as_str(),
            host: host.host.as_str(),
            index,
            session: Session::Unsupported,
            passing: *passing,
        };
        let made = preset.command_line(&order).ok()?;
        let program = match made.program {
            Program::Home(path) => format!("~/{path}"),
            Program::Path(path) | Program::Search(path) => path,
        };
        for (name, value) in made.env {
            env.entry(name).or_insert(value);
        }
        let words = std::iter::once(program.into_bytes())
            .chain(made.args.into_iter().map(OsStringExt::into_vec))
            .collect();
        let stdin = made.stdin.and_then(|text| String::from_utf8(text).ok());
        Some(payload::shell(words, stdin, Some(preset.name()), cwd, env))
    }

    /// Returns, as flags, what must not be written down.
    fn kept_back(&self, hosts: &[Arc<Host>]) -> Vec<String> {
        let mut flags: Vec<String> = Vec::new();
        for (name, value) in &self.common.env {
            match value {
                Value::Hidden(_) => flags.push(format!("--env-from {name}")),
                Value::Open(_) if is_secret_name(name) => flags.push(format!("--env {name}=…")),
                Value::Open(_) => {}
            }
        }
        if self.common.sudo.is_some() {
            flags.push("--sudo".to_owned());
        }
        let named: BTreeSet<&String> = hosts
            .iter()
            .flat_map(|host| host.env.keys())
            .filter(|name| is_secret_name(name))
            .collect();
        flags.extend(
            named
                .iter()
                .map(|name| format!("`env` {name} of the fleet file")),
        );
        flags
    }

    /// Tells whether PicoClaw was asked for where a host has another agent: to a push worker a task is
    /// one for the agent of its host.
    fn overrides_an_agent(&self, hosts: &[Arc<Host>]) -> bool {
        let Work::Tasks {
            agent: Some(AgentPreset::Picoclaw),
            ..
        } = &self.work
        else {
            return false;
        };
        let has_another =
            |host: &Arc<Host>| !matches!(payload::preset(host), Ok(AgentPreset::Picoclaw));
        hosts.iter().any(has_another)
    }

    /// Returns in what the hosts differ, if the commands of one task do.
    fn differs(&self, hosts: &[Arc<Host>]) -> Option<&'static str> {
        let (first, rest) = hosts.split_first()?;
        let differs = |same: &dyn Fn(&Host) -> bool| !rest.iter().all(|host| same(host));
        if differs(&|host| host.env == first.env) {
            return Some("`env`");
        }
        if self.common.directory.is_none() && differs(&|host| host.workdir == first.workdir) {
            return Some("`workdir`");
        }
        if differs(&|host| self.preset(host) == self.preset(first)) {
            return Some("`agent`");
        }
        if differs(&|host| host.timeout == first.timeout) {
            return Some("`timeout`");
        }
        let marks = ["{name}", "{host}", "{index}"];
        let has = |text: &str| marks.iter().any(|mark| text.contains(mark));
        let filled = match &self.work {
            Work::Tasks { texts, .. } => {
                has(&self.preset(first).name())
                    || self.common.fill_in && texts.iter().any(|text| has(text))
            }
            Work::Commands(commands) => {
                let mut words = commands.iter().flatten();
                self.common.fill_in && words.any(|word| std::str::from_utf8(word).is_ok_and(has))
            }
        };
        (filled && !rest.is_empty()).then_some("what {name}, {host} and {index} stand for")
    }

    fn preset(&self, host: &Host) -> &AgentPreset {
        let chosen = match &self.work {
            Work::Tasks { agent, .. } => agent.as_ref(),
            Work::Commands(_) => None,
        };
        chosen
            .or_else(|| self.agents.get(host.name.as_str()))
            .unwrap_or(&AgentPreset::Picoclaw)
    }

    fn make(&self, unit: &Unit, host: &Host) -> Result<Command, Error> {
        let index = self.positions.get(host.name.as_str()).copied().unwrap_or(0);
        let mut command = match &self.work {
            Work::Tasks {
                texts,
                session,
                passing,
                ..
            } => {
                let text = texts.get(unit.task).map(String::as_str).unwrap_or_default();
                let text = self.filled(text, host, index);
                let preset = self.preset(host);
                let job = unit.job.to_string();
                let order = Order {
                    task: &text,
                    job: &job,
                    name: host.name.as_str(),
                    host: host.host.as_str(),
                    index,
                    session: Session::Unsupported,
                    passing: *passing,
                };
                let made = preset.command_line(&order).map_err(|source| Error::Agent {
                    task: unit.task,
                    source,
                })?;
                let key = session.as_deref().unwrap_or(&job);
                agent_command(made, preset, key)
            }
            Work::Commands(commands) => Command {
                words: commands
                    .get(unit.task)
                    .into_iter()
                    .flatten()
                    .map(|word| Word::Plain(self.filled_bytes(word, host, index)))
                    .collect(),
                ..Command::default()
            },
        };
        command.directory = self
            .common
            .directory
            .clone()
            .or_else(|| host.workdir.clone());
        command.sudo = self.common.sudo.clone();
        let own = host
            .env
            .iter()
            .map(|(name, value)| (name.clone(), Value::Open(value.clone())));
        let names: Vec<&String> = self.common.env.iter().map(|(name, _)| name).collect();
        let own: Vec<_> = own.filter(|(name, _)| !names.contains(&name)).collect();
        command.env.extend(own);
        command.env.extend(self.common.env.iter().cloned());
        Ok(command)
    }

    fn filled(&self, text: &str, host: &Host, index: usize) -> String {
        if !self.common.fill_in {
            return text.to_owned();
        }
        text.replace("{name}", host.name.as_str())
            .replace("{host}", host.host.as_str())
            .replace("{index}", &index.to_string())
    }

    fn filled_bytes(&self, word: &[u8], host: &Host, index: usize) -> Vec<u8> {
        match std::str::from_utf8(word) {
            Ok(text) => self.filled(text, host, index).into_bytes(),
            Err(_) => word.to_vec(),
        }
    }
}

/// Returns the command that starts an agent as `made` says, in the conversation named `session`.
pub(super) fn agent_command(made: AgentCommand, preset: &AgentPreset, session: &str) -> Command {
    let program = match made.program {
        Program::Home(path) => Word::InHome(path),
        Program::Path(path) | Program::Search(path) => Word::Plain(path.into_bytes()),
    };
    let mut words = vec![program];
    words.extend(
        made.args
            .into_iter()
            .map(|word| Word::Plain(word.into_vec())),
    );
    let session_words = || {
        vec![
            "-s".into(),
            Word::Plain(agent::picoclaw::session_key(session).into_bytes()),
        ]
    };
    Command {
        words,
        if_offered: match preset {
            AgentPreset::Picoclaw => Some(("--session", session_words())),
            AgentPreset::Openclaw | AgentPreset::Custom(_) => None,
        },
        env: made
            .env
            .into_iter()
            .map(|(name, value)| (name, Value::Open(value)))
            .collect(),
        unset: made.unset,
        input: made.stdin.map_or(Input::Nothing, Input::Text),
        must_be_installed: true,
        // An agent's helpers must not go on working for nobody.
        end_leftovers: true,
        ..Command::default()
    }
}
