//! Carries out a prepared run for `dispatch` and `exec`: shows it while it happens, sums it up, and
//! turns it into an exit code.

use std::sync::Arc;

use anyhow::Context;
use serde_json::Value;

use super::connect::{CONNECT_TIMEOUT, ConnectArgs};
use super::exit::Exit;
use super::output::{Format, Output};
use super::progress::Progress;
use super::show::Show;
use super::summary;
use super::task_args::{ShowArgs, TaskArgs};
use crate::fleet::attend::Attendant;
use crate::fleet::dispatch::Prepared;
use crate::fleet::file::Host;
use crate::fleet::link::{route_of, target_of};
use crate::fleet::report::{Status, TaskReport};
use crate::fleet::run::{self, Means, Plan};
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
    pub meta: Value,
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

/// Carries out the run.
///
/// # Errors
/// When the queue fails or the result cannot be written.
pub async fn perform(performance: Performance<'_>, output: &Output) -> anyhow::Result<Exit> {
    let Performance {
        run: group,
        kind,
        title,
        mut meta,
        hosts,
        prepared,
        task,
        show,
        connect,
        strip,
        attendant,
        one_by_one,
    } = performance;
    if task.dry_run {
        return dry_run(&hosts, &prepared, output);
    }
    show.prepare(output)?;
    let directory = runs::directory(group)?;
    let _presence = runs::announce(group)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let links = connect.links(CONNECT_TIMEOUT);
    let queue = runs::open_queue().context("open the local queue")?;
    let shutdown = Shutdown::listen().context("listen for signals")?;
    output.leave_on(&shutdown);
    let (timeout, outranks) = task.limit();
    let hosts: Vec<Arc<Host>> = hosts
        .iter()
        .map(|host| with_timeout(host, timeout, outranks))
        .collect();
    let several = !one_by_one && hosts.len() > 1 || prepared.units.len() > 1;
    let live = !show.group && !show.gather && output.format() != Format::Json && !strip;
    let names: Vec<String> = hosts.iter().map(|host| host.name.to_string()).collect();
    let input = task.input()?;
    let (events, received) = run::channel();
    if let Some(map) = meta.as_object_mut() {
        map.insert("hosts".into(), names.clone().into());
    }
    let started_at = clock.now();
    let showing = Show {
        run: group,
        kind,
        title: title.clone(),
        names,
        tasks: prepared.units.iter().map(|unit| unit.task).collect(),
        several,
        live,
        strip,
        group: show.group,
        raw: show.raw,
    };
    let means = Means {
        queue: queue.clone(),
        links,
        clock: Arc::clone(&clock),
    };
    let plan = Plan {
        kind,
        title,
        meta: Payload::of(&meta).unwrap_or_else(|_| Payload::empty()),
        hosts: hosts.clone(),
        units: prepared.units,
        command: prepared.command,
        input,
        attendant,
        one_by_one,
        timeout,
        deadline: task.deadline.and_then(|limit| limit.0),
        grace: task.grace,
        max_output: show.cap(),
        directory: directory.clone(),
        live,
    };
    let carrying = run::carry_out(plan, group, means, shutdown.clone(), events);
    let progress = match several {
        true => Progress::start(output, kind, showing.tasks.len()),
        // Its raw output goes to the terminal as it comes, and a bar would be drawn into it.
        false => Progress::none(output),
    };
    let (carried, outcome) = showing.during(carrying, received, output, &progress).await;
    drop(progress);
    let mut outcome = Outcome {
        cause: shutdown.cause(),
        ..outcome
    };
    if one_by_one && outcome.reports.iter().all(|report| report.host.is_some()) {
        // A candidate that could not be used is worth a word, but another one did the work.
        for (name, _, why, _) in outcome.down.drain(..) {
            output.note(&format!("{name} could not be used: {why}"));
        }
    }
    // These count whoever did the work.
    outcome.down.append(&mut outcome.unclean);
    let took = clock.now().since(started_at);
    let exit = summary::exit(&outcome);
    let context = summary::Context {
        run: group,
        kind,
        hosts: &hosts,
        took,
        exit,
        strip,
    };
    if show.gather {
        summary::gather(&outcome, show.similar, &context, output);
    }
    let written = match &show.output_dir {
        Some(dir) => summary::write_files(dir, &outcome, &context),
        None => Ok(()),
    };
    // Files that cannot be written must not hide what came of the tasks.
    summary::print(&outcome, &context, several, output)?;
    carried?;
    written?;
    runs::prune(&queue).await;
    Ok(exit)
}

/// The flag outranks the fleet file, the fleet file outranks the default.
fn with_timeout(
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
