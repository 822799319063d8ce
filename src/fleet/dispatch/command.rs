//! The command of a unit for a host.

use std::os::unix::ffi::OsStringExt;

use super::{Error, Maker, Work};
use crate::fleet::agent::{self, AgentCommand, AgentPreset, Order, Program, Session};
use crate::fleet::file::Host;
use crate::fleet::remote::{Command, Input, Value, Word};
use crate::fleet::run::Unit;

impl Maker {
    pub(super) fn preset(&self, host: &Host) -> &AgentPreset {
        let chosen = match &self.work {
            Work::Tasks { agent, .. } => agent.as_ref(),
            Work::Commands(_) => None,
        };
        chosen
            .or_else(|| self.agents.get(host.name.as_str()))
            .unwrap_or(&AgentPreset::Picoclaw)
    }

    pub(super) fn make(&self, unit: &Unit, host: &Host) -> Result<Command, Error> {
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

    pub(super) fn filled(&self, text: &str, host: &Host, index: usize) -> String {
        if !self.common.fill_in {
            return text.to_owned();
        }
        text.replace("{name}", host.name.as_str())
            .replace("{host}", host.host.as_str())
            .replace("{index}", &index.to_string())
    }

    pub(super) fn filled_bytes(&self, word: &[u8], host: &Host, index: usize) -> Vec<u8> {
        match std::str::from_utf8(word) {
            Ok(text) => self.filled(text, host, index).into_bytes(),
            Err(_) => word.to_vec(),
        }
    }
}

/// Returns the command that starts an agent as `made` says, in the conversation named `session`.
pub(in crate::fleet) fn agent_command(
    made: AgentCommand,
    preset: &AgentPreset,
    session: &str,
) -> Command {
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
