//! What a run was asked to do, as it is remembered with it: enough to do the rest of it later.
//!
//! Never a secret: what must not be written down is only named.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::fleet::agent::{AgentPreset, Passing};
use crate::fleet::dispatch::{Common, Spread, Work};
use crate::fleet::remote::Value;
use crate::fleet::run::Unit;
use crate::protocol::{GroupId, Payload};
use crate::support::clock::Timestamp;
use crate::support::mask::is_secret_name;

/// What is remembered of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Asked {
    /// Its hosts, in order.
    pub hosts: Vec<String>,
    /// Whether each task runs once, on whichever host is free.
    pub spread: bool,
    /// The tasks, if it has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<String>>,
    /// The agent, if one was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The commands, if it has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands: Option<Vec<Vec<String>>>,
    /// The same in base64, where they are not all text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands_b64: Option<Vec<Vec<String>>>,
    /// The conversation that goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Whether tasks go to standard input.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub task_stdin: bool,
    /// The directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Variables that are no secrets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Whether `{name}`, `{host}` and `{index}` stand for the host.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fill_in: bool,
    /// Whether the hosts are candidates of which one is enough.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub one: bool,
    /// The limit of each task, if it was given; 0 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Between TERM and KILL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
    /// When it must end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<Timestamp>,
    /// The run that it repeats. Kept with the run itself, not here.
    #[serde(skip)]
    pub parent: Option<GroupId>,
    /// What was asked for and is not written down, as flags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept_back: Vec<String>,
    /// The task of each job and its host, where not every task of the run is for every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub places: Option<Vec<(usize, Option<usize>)>>,
    /// Whether all that it takes is here; runs of older versions say nothing.
    pub complete: bool,
}

/// What is known only when a run begins.
#[derive(Debug)]
pub struct Limits<'a> {
    /// Its hosts, in order.
    pub hosts: &'a [String],
    /// Whether the hosts are candidates of which one is enough.
    pub one: bool,
    /// The limit of each task, if it was given.
    pub timeout: Option<Option<Duration>>,
    /// Between TERM and KILL.
    pub grace: Duration,
    /// When it must end.
    pub deadline_at: Option<Timestamp>,
    /// What was asked for and is not written down, as flags.
    pub kept_back: Vec<String>,
}

/// A run that cannot be gone on with. Trying again does not help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What it was asked is not there, or not in this form.
    #[error("what this run was asked is not written down: an older skyclaw made it")]
    Unknown,
    /// Part of what it was asked must not be written down.
    #[error("part of what this run was asked is not written down: {}", .0.join(", "))]
    KeptBack(Vec<String>),
    /// Its agent is no command.
    #[error("its agent")]
    Agent(#[from] crate::fleet::agent::template::Error),
}

impl Asked {
    /// Returns what is remembered of this work.
    pub fn of(work: &Work, spread: Spread, common: &Common) -> Self {
        let open = common.env.iter().filter_map(|(name, value)| {
            let text = value.open().filter(|_| !is_secret_name(name))?;
            Some((name.clone(), text.to_owned()))
        });
        let base = Self {
            spread: spread == Spread::Once,
            cwd: common.directory.clone(),
            env: open.collect(),
            fill_in: common.fill_in,
            complete: true,
            ..Self::default()
        };
        match work {
            Work::Tasks {
                texts,
                agent,
                session,
                passing,
            } => Self {
                tasks: Some(texts.clone()),
                agent: agent.as_ref().map(AgentPreset::name),
                session: session.clone(),
                task_stdin: *passing == Passing::Stdin,
                ..base
            },
            Work::Commands(commands) => {
                let text: Result<Vec<Vec<String>>, _> = commands
                    .iter()
                    .map(|words| words.iter().cloned().map(String::from_utf8).collect())
                    .collect();
                let encoded = || {
                    let words = |words: &Vec<Vec<u8>>| {
                        words.iter().map(|word| STANDARD.encode(word)).collect()
                    };
                    commands.iter().map(words).collect()
                };
                Self {
                    commands_b64: text.is_err().then(encoded),
                    commands: text.ok(),
                    ..base
                }
            }
        }
    }

    /// Adds what is known only now.
    pub fn remember(&mut self, limits: &Limits<'_>) {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        self.hosts = limits.hosts.to_vec();
        self.one = limits.one;
        self.timeout_ms = limits.timeout.map(|limit| limit.map_or(0, millis));
        self.grace_ms = Some(millis(limits.grace));
        self.deadline_at = limits.deadline_at;
        self.kept_back.clone_from(&limits.kept_back);
    }

    /// Reads what is remembered with a run.
    ///
    /// # Errors
    /// When it is not in this form.
    pub fn read(meta: &Payload) -> Result<Self, Error> {
        serde_json::from_str(meta.as_str()).map_err(|_| Error::Unknown)
    }

    /// Returns the work, if all of it is here.
    ///
    /// # Errors
    /// When part of it is not.
    pub fn work(&self) -> Result<(Work, Spread, Common), Error> {
        if !self.kept_back.is_empty() {
            return Err(Error::KeptBack(self.kept_back.clone()));
        }
        if !self.complete {
            return Err(Error::Unknown);
        }
        let work = match (&self.tasks, &self.commands, &self.commands_b64) {
            (Some(texts), _, _) => Work::Tasks {
                texts: texts.clone(),
                agent: self.agent.as_deref().map(AgentPreset::read).transpose()?,
                session: self.session.clone(),
                passing: match self.task_stdin {
                    true => Passing::Stdin,
                    false => Passing::Preferred,
                },
            },
            (None, Some(commands), _) => Work::Commands(
                commands
                    .iter()
                    .map(|words| words.iter().map(|word| word.clone().into_bytes()).collect())
                    .collect(),
            ),
            (None, None, Some(encoded)) => Work::Commands(
                encoded
                    .iter()
                    .map(|words| words.iter().map(|word| STANDARD.decode(word)).collect())
                    .collect::<Result<_, _>>()
                    .map_err(|_| Error::Unknown)?,
            ),
            (None, None, None) => return Err(Error::Unknown),
        };
        let spread = match self.spread {
            true => Spread::Once,
            false => Spread::Each,
        };
        let open = |(name, value): (&String, &String)| (name.clone(), Value::Open(value.clone()));
        let common = Common {
            env: self.env.iter().map(open).collect(),
            directory: self.cwd.clone(),
            sudo: None,
            fill_in: self.fill_in,
        };
        Ok((work, spread, common))
    }

    /// Returns which task the job at this position of the run does, and on which host it must.
    pub fn place(&self, at: usize) -> (usize, Option<usize>) {
        if let Some(places) = &self.places {
            return places.get(at).copied().unwrap_or_default();
        }
        match (self.spread, self.hosts.len()) {
            (false, hosts @ 1..) => (at / hosts, Some(at % hosts)),
            (true, _) | (false, 0) => (at, None),
        }
    }

    /// Picks from `units`, which are those of all its work, those that it has.
    pub fn pick(&self, units: Vec<Unit>) -> Vec<Unit> {
        match &self.places {
            None => units,
            Some(places) => units
                .into_iter()
                .filter(|unit| places.contains(&(unit.task, unit.host)))
                .collect(),
        }
    }

    /// Returns the limit that was given for each task: nothing if none was, else what it is.
    pub fn timeout(&self) -> Option<Option<Duration>> {
        self.timeout_ms
            .map(|millis| (millis > 0).then(|| Duration::from_millis(millis)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::secret::Secret;

    #[test]
    fn what_is_remembered_gives_the_same_work_and_no_secret() {
        let common = Common {
            env: vec![
                ("A".into(), Value::Open("1".into())),
                ("X_TOKEN".into(), Value::Open("geheim".into())),
                ("B".into(), Value::Hidden(Secret::new("geheim".into()))),
            ],
            directory: Some("/srv".into()),
            ..Common::default()
        };
        let work = Work::Commands(vec![vec![b"echo".to_vec(), vec![0xff, b'x']]]);
        let asked = Asked::of(&work, Spread::Each, &common);
        let text = serde_json::to_string(&asked).unwrap();
        assert!(!text.contains("geheim"), "{text}");
        let asked = Asked::read(&Payload::parse(text).unwrap()).unwrap();
        let (Work::Commands(commands), Spread::Each, common) = asked.work().unwrap() else {
            panic!("commands on each host")
        };
        assert_eq!(commands, [vec![b"echo".to_vec(), vec![0xff, b'x']]]);
        assert_eq!(common.env.len(), 1);
        assert_eq!(common.directory.as_deref(), Some("/srv"));
        let kept = Asked {
            kept_back: vec!["--env-from B".into()],
            ..asked
        };
        assert!(
            kept.work()
                .unwrap_err()
                .to_string()
                .contains("--env-from B")
        );
        assert!(matches!(Asked::default().work(), Err(Error::Unknown)));
    }

    #[test]
    fn jobs_keep_their_places() {
        let asked = Asked {
            hosts: vec!["a".into(), "b".into()],
            ..Asked::default()
        };
        assert_eq!(asked.place(3), (1, Some(1)));
        let once = Asked {
            spread: true,
            ..asked
        };
        assert_eq!(once.place(3), (3, None));
    }
}
