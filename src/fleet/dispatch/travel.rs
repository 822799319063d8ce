//! What a task says so that any holder of its job does the same as we would, and what cannot be said that way.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use super::{Maker, Work};
use crate::fleet::agent::{self, AgentPreset, Order, Passing, Program, Session};
use crate::fleet::file::Host;
use crate::fleet::payload;
use crate::fleet::remote::Value;
use crate::fleet::run::Unit;
use crate::protocol::api::JobKind;
use crate::protocol::{JobId, Payload};
use crate::support::mask::is_secret_name;

impl Maker {
    pub(super) fn unit(&self, task: usize, host: Option<usize>, hosts: &[Arc<Host>]) -> Unit {
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
    pub(super) fn kept_back(&self, hosts: &[Arc<Host>]) -> Vec<String> {
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
    pub(super) fn overrides_an_agent(&self, hosts: &[Arc<Host>]) -> bool {
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
    pub(super) fn differs(&self, hosts: &[Arc<Host>]) -> Option<&'static str> {
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
}
