//! From tasks or a command to the units of a run: what each host will run, decided before any host is
//! contacted.

mod command;
mod travel;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use self::command::agent_command;
use crate::fleet::agent::{self, AgentPreset, Passing};
use crate::fleet::file::Host;
use crate::fleet::remote::{self, Sudo, Value};
use crate::fleet::run::{MakeCommand, Unit};

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
