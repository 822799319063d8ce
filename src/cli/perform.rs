//! Carries out a prepared run for `dispatch` and `exec`: shows it while it happens, sums it up, and
//! turns it into an exit code.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use serde_json::Value;

use super::connect::{CONNECT_TIMEOUT, ConnectArgs};
use super::exit::Exit;
use super::output::Output;
use super::stage::{Stage, is_live};
use super::task_args::{ShowArgs, TaskArgs};
use super::through;
use crate::fleet::asked::{Asked, Limits};
use crate::fleet::attend::Attendant;
use crate::fleet::dispatch::Prepared;
use crate::fleet::file::Host;
use crate::fleet::follow::{self, Handover};
use crate::fleet::link::{route_of, target_of};
use crate::fleet::report::{Status, TaskReport};
use crate::fleet::run::{self, Begin, Means, Plan};
use crate::fleet::runs;
use crate::protocol::{GroupId, Payload};
use crate::ssh::Target;
use crate::support::clock::{Clock, SystemClock};
use crate::support::shutdown::{Cause, Shutdown};

/// A run, ready to be carried out.
pub struct Performance<'a> {
    /// Its id.
    pub run: GroupId,
    /// What makes it.
    pub kind: &'static str,
    /// One line for people.
    pub title: String,
    /// What is remembered of it.
    pub asked: Asked,
    /// The fleet file.
    pub fleet: &'a Path,
    /// Its hosts.
    pub hosts: Vec<Arc<Host>>,
    /// Its units and commands.
    pub prepared: Prepared,
    /// How tasks run.
    pub task: &'a TaskArgs,
    /// How output is shown.
    pub show: &'a ShowArgs,
    /// How hosts are connected to.
    pub connect: &'a ConnectArgs,
    /// Whether only the agent's answer is printed.
    pub strip: bool,
    /// Who installs the agent first and cleans up afterwards, if anybody.
    pub attendant: Option<Arc<Attendant>>,
    /// Whether the hosts are candidates of which one is enough.
    pub one_by_one: bool,
}

/// What came of a run, for summaries and exit codes.
#[derive(Debug)]
pub struct Outcome {
    /// One report a unit, in the order of the plan.
    pub reports: Vec<TaskReport>,
    /// Hosts that were of no use, with the reason and a hint.
    pub down: Vec<(String, Status, String, Option<String>)>,
    /// Hosts that may not be as they were, in the same words.
    pub unclean: Vec<(String, Status, String, Option<String>)>,
    /// Which signal stopped it, if one did.
    pub cause: Option<Cause>,
}

/// Returns one line that names the tasks.
pub fn title(texts: &[String]) -> String {
    let first = texts.first().map(String::as_str).unwrap_or_default();
    let line: String = first
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(80)
        .collect();
    match texts.len() {
        0 | 1 => line,
        more => format!("{line} (and {} more)", more - 1),
    }
}

/// Carries out the run: through a running `fleet up` if there is one and the run can be handed over,
/// else in this process.
///
/// # Errors
/// When it cannot be carried out or the result cannot be written.
pub async fn perform(performance: Performance<'_>, output: &Output) -> anyhow::Result<Exit> {
    let Performance {
        run: group,
        kind,
        title,
        mut asked,
        hosts,
        prepared,
        task,
        show,
        connect,
        fleet,
        strip,
        attendant,
        one_by_one,
    } = performance;
    if task.dry_run {
        return dry_run(&hosts, &prepared, output);
    }
    show.prepare(output)?;
    let (timeout, outranks) = task.limit();
    let hosts: Vec<Arc<Host>> = hosts
        .iter()
        .map(|host| with_timeout(host, timeout, outranks))
        .collect();
    let started_at = SystemClock.now();
    let names: Vec<String> = hosts.iter().map(|host| host.name.to_string()).collect();
    let deadline = task.deadline.and_then(|limit| limit.0);
    asked.remember(&Limits {
        hosts: &names,
        one: one_by_one,
        timeout: outranks.then_some(timeout),
        grace: task.grace,
        deadline_at: deadline.map(|span| started_at.plus(span)),
        kept_back: kept_back(&prepared, task, attendant.is_some()),
    });
    let stage = Stage {
        run: group,
        kind,
        title: title.clone(),
        hosts: &hosts,
        names,
        tasks: prepared.units.iter().map(|unit| unit.task).collect(),
        show,
        strip,
        one_by_one,
        started_at,
    };
    let plan = Plan {
        kind,
        title,
        meta: Payload::of(&asked).unwrap_or_else(|_| Payload::empty()),
        hosts: hosts.clone(),
        units: prepared.units,
        command: prepared.command,
        input: task.input()?,
        attendant,
        one_by_one,
        timeout,
        deadline,
        grace: task.grace,
        max_output: show.cap(),
        directory: runs::directory(group)?,
        live: is_live(show, strip, output),
    };
    let travels = follow::travels(&plan, &prepared.kept_back, prepared.differs);
    let controller = through::controller(&plan, fleet, connect, travels).await;
    let shutdown = Shutdown::listen().context("listen for signals")?;
    output.leave_on(&shutdown);
    let (events, received) = run::channel();
    let cause = || shutdown.cause();
    if let Some(client) = controller {
        let (handover, places) = Handover::of(&plan, group, asked.parent, started_at);
        let course = through::course(&plan, group, places, connect);
        let carrying = follow::carry_out(course, Some(handover), client, shutdown.clone(), events);
        return stage.play(carrying, received, cause, output).await;
    }
    let parent = asked.parent;
    let _presence = runs::announce(group)?;
    let queue = runs::open_queue().context("open the local queue")?;
    let means = Means {
        queue: queue.clone(),
        links: connect.links(CONNECT_TIMEOUT),
        clock: Arc::new(SystemClock),
    };
    let begin = Begin::New { parent };
    let carrying = run::carry_out(plan, group, begin, means, shutdown.clone(), events);
    let exit = stage.play(carrying, received, cause, output).await?;
    runs::prune(&queue).await;
    Ok(exit)
}

/// Returns, as flags, what a run needs and nobody writes down.
fn kept_back(prepared: &Prepared, task: &TaskArgs, attended: bool) -> Vec<String> {
    let mut flags: Vec<String> = prepared
        .kept_back
        .iter()
        // The fleet file is read again by whoever goes on.
        .filter(|flag| flag.starts_with("--"))
        .cloned()
        .collect();
    if let Some(path) = &task.stdin {
        flags.push(format!("--stdin {}", path.display()));
    }
    if attended {
        flags.push("--deploy-missing or --ephemeral".to_owned());
    }
    flags
}

/// The flag outranks the fleet file, the fleet file outranks the default.
pub fn with_timeout(
    host: &Arc<Host>,
    timeout: Option<std::time::Duration>,
    outranks: bool,
) -> Arc<Host> {
    if !outranks {
        return Arc::clone(host);
    }
    let mut host = Host::clone(host);
    host.timeout = Some(crate::support::span::Limit(timeout));
    Arc::new(host)
}

/// Returns where a host is, with what lies on the way.
fn way(host: &Host) -> String {
    let hops: Vec<String> = route_of(host).iter().map(Target::address).collect();
    let address = target_of(host).address();
    if hops.is_empty() {
        return address;
    }
    format!("{address} via {}", hops.join(","))
}

fn dry_run(hosts: &[Arc<Host>], prepared: &Prepared, output: &Output) -> anyhow::Result<Exit> {
    use super::table::Table;
    let mut table = Table::new(["HOST", "ADDRESS", "COMMAND"]);
    let mut rows = Vec::new();
    for unit in &prepared.units {
        let candidates: Vec<&Arc<Host>> = match unit.host {
            Some(at) => hosts.get(at).into_iter().collect(),
            None => hosts.first().into_iter().collect(),
        };
        for host in candidates {
            let name = if unit.host.is_some() {
                host.name.to_string()
            } else {
                "(next free)".to_owned()
            };
            let address = if unit.host.is_some() {
                way(host)
            } else {
                String::new()
            };
            let command = (prepared.command)(unit, host).to_string();
            rows.push(serde_json::json!({ "host": name, "address": address, "command": command, "task": unit.task }));
            output.event("would-run", rows.last().unwrap_or(&Value::Null))?;
            table.row([name, address, command]);
        }
    }
    output.table(&table);
    output.document(&serde_json::json!({ "dryRun": true, "commands": rows }))?;
    Ok(Exit::Success)
}
