//! From tasks or a command to the units of a run: what each host will run, decided before any host is
//! contacted.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use serde_json::json;

use crate::fleet::agent::{self, AgentCommand, AgentPreset, Order, Passing, Program, Session};
use crate::fleet::file::Host;
use crate::fleet::remote::{self, Command, Input, Sudo, Value, Word};
use crate::fleet::run::{MakeCommand, Unit};
use crate::protocol::{JobId, Payload};

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
            Spread::Once => units.push(maker.unit(task, None)),
            Spread::Each => units.extend((0..hosts.len()).map(|at| maker.unit(task, Some(at)))),
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
    let command = Box::new(move |unit: &Unit, host: &Host| {
        // Checked above for every host that can get the unit.
        maker.make(unit, host).unwrap_or_default()
    });
    Ok(Prepared { units, command })
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
    fn unit(&self, task: usize, host: Option<usize>) -> Unit {
        let mut payload = match &self.work {
            Work::Tasks { texts, agent, .. } => json!({
                "kind": "picoclaw-task",
                "message": texts.get(task),
                "agent": agent.as_ref().map(AgentPreset::name),
            }),
            Work::Commands(commands) => {
                let words: Vec<_> = commands
                    .get(task)
                    .into_iter()
                    .flatten()
                    .map(|word| String::from_utf8_lossy(word).into_owned())
                    .collect();
                json!({ "kind": "shell", "command": words.first(), "args": words.get(1..) })
            }
        };
        if let (Some(map), Some(directory)) = (payload.as_object_mut(), &self.common.directory) {
            map.insert("cwd".into(), directory.as_str().into());
        }
        Unit {
            job: JobId::fresh(),
            task,
            host,
            payload: Payload::of(&payload).unwrap_or_else(|_| Payload::empty()),
        }
    }

    fn make(&self, unit: &Unit, host: &Host) -> Result<Command, Error> {
        let index = self.positions.get(host.name.as_str()).copied().unwrap_or(0);
        let mut command = match &self.work {
            Work::Tasks {
                texts,
                agent,
                session,
                passing,
            } => {
                let text = texts.get(unit.task).map(String::as_str).unwrap_or_default();
                let text = self.filled(text, host, index);
                let preset = agent
                    .as_ref()
                    .or_else(|| self.agents.get(host.name.as_str()))
                    .unwrap_or(&AgentPreset::Picoclaw);
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
