//! `skyclaw fleet dispatch`: hands tasks to the agents of the fleet.

use std::sync::Arc;
use std::time::Duration;

use super::args::{OnArgs, load_fleet};
use super::connect::selected;
use super::deploy::{SourceArgs, as_failure};
use super::error::Failure;
use super::exit::Exit;
use super::output::Output;
use super::perform::{self, Performance};
use super::task_args::RunArgs;
use super::{resume, retry};
use crate::fleet::agent::{AgentPreset, Passing};
use crate::fleet::asked::Asked;
use crate::fleet::attend::Attendant;
use crate::fleet::choose::{self, Candidate};
use crate::fleet::dispatch::{Spread, Work, prepare};
use crate::fleet::ephemeral::Mark;
use crate::fleet::file::{Fleet, Host};
use crate::fleet::select::{self, Selection, Selector, select};
use crate::fleet::{deploy, status};
use crate::protocol::GroupId;
use crate::support::clock::{Clock, SystemClock};
use crate::support::paths;

/// How long --one waits for a host to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(6);

/// Hand a task to the agents of the fleet
///
/// One task runs on every selected host. Several tasks (or --tasks) run once each, on the next free
/// host; with --each every task runs on every host. With several, {name}, {host} and {index} in a task
/// stand for the host.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw fleet dispatch \"summarize the last 24h of syslog\" --on @web --timeout 5m\n\n\
Exit codes: 0 every task succeeded, 1 a task failed, 2 usage or configuration error, 4 a host was\n\
unreachable, 10 the agent is not installed, 124 a task ran into its limit, 130/143 stopped by a signal.\n\
With exactly one host and one task: the agent's own exit code, or 255 if SSH failed."
)]
pub struct Args {
    /// The task; several are spread over the hosts
    #[arg(value_name = "TASK", required_unless_present_any = ["tasks", "resume", "retry"])]
    pub texts: Vec<String>,
    /// Which agent: picoclaw, openclaw, or a command with {task} [default: the host's `agent`, else picoclaw]
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<String>,
    /// Go on with a conversation of this name instead of starting afresh
    #[arg(long, value_name = "KEY")]
    pub session: Option<String>,
    /// Send the task on standard input, not as an argument
    #[arg(long, conflicts_with = "stdin")]
    pub task_stdin: bool,
    /// Print only the agent's answer, without logo and log lines
    #[arg(long)]
    pub strip: bool,
    /// Run on one host only: the least loaded of those that answer and have the agent
    #[arg(long, conflicts_with_all = ["each", "tasks"])]
    pub one: bool,
    /// Install PicoClaw first on hosts that have no agent
    #[arg(long)]
    pub deploy_missing: bool,
    /// Install PicoClaw first on hosts that have no agent, and put them back to how they were afterwards
    #[arg(long)]
    pub ephemeral: bool,
    /// Go on with a run that was cut off, or tell again what came of it: its id, the beginning of it, or `last`
    #[arg(long, value_name = "RUN", conflicts_with_all = ["texts", "agent", "session", "task_stdin", "one", "deploy_missing", "ephemeral", "on", "hosts_from", "limit", "tasks", "each", "env", "env_from", "cwd", "sudo", "stdin", "timeout", "deadline", "dry_run"])]
    pub resume: Option<String>,
    /// Do again what did not come out well in a run, as a new run: its id, the beginning of it, or `last`
    #[arg(long, value_name = "RUN", conflicts_with_all = ["resume", "texts", "agent", "session", "task_stdin", "one", "deploy_missing", "ephemeral", "on", "hosts_from", "limit", "tasks", "each", "env", "env_from", "cwd", "sudo", "stdin"])]
    pub retry: Option<String>,
    /// Which hosts.
    #[command(flatten)]
    pub on: OnArgs,
    /// Everything else.
    #[command(flatten)]
    pub run: RunArgs,
    /// What to install with --deploy-missing or --ephemeral.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Runs the verb.
///
/// # Errors
/// When nothing could be started; what fails on hosts is in the exit code.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if let Some(word) = &args.resume {
        return resume::run(word, "dispatch", &args.run, args.strip, output).await;
    }
    if let Some(word) = &args.retry {
        return retry::run(word, "dispatch", &args.run, args.strip, output).await;
    }
    let fleet = load_fleet(&args.run.fleet, output)?;
    check_no_host_among(&args.texts, &fleet)?;
    let hosts = selected(&fleet, &args.on.selection()?, output)?;
    let mut texts = args.texts.clone();
    texts.extend(args.run.task.listed_tasks()?);
    let agent = args
        .agent
        .as_deref()
        .map(AgentPreset::read)
        .transpose()
        .map_err(|error| Failure::usage("--agent is no command").because(error))?;
    let spread = if texts.len() == 1 && args.run.task.tasks.is_none() || args.run.task.each {
        Spread::Each
    } else {
        Spread::Once
    };
    // A single task is passed on byte for byte, braces and all.
    let fill_in = texts.len() > 1 || args.run.task.tasks.is_some() || args.run.task.each;
    let run = GroupId::fresh();
    let attendant = attendant(args, agent.as_ref(), &hosts, run).await?;
    if args.one && texts.len() > 1 {
        return Err(Failure::usage("--one is for a single task").into());
    }
    let (hosts, spread) = match args.one {
        true => (candidates(&hosts, args, output).await, Spread::Once),
        false => (hosts, spread),
    };
    let title = perform::title(&texts);
    let work = Work::Tasks {
        texts,
        agent,
        session: args.session.clone(),
        passing: if args.task_stdin {
            Passing::Stdin
        } else {
            Passing::Preferred
        },
    };
    let common = args.run.task.common(fill_in)?;
    let asked = Asked::of(&work, spread, &common);
    let prepared = prepare(work, spread, common, &hosts)
        .map_err(|error| Failure::usage("dispatch").because(error))?;
    perform::perform(
        Performance {
            run,
            kind: "dispatch",
            title,
            asked,
            fleet: &fleet.path,
            hosts,
            prepared,
            task: &args.run.task,
            show: &args.run.show,
            connect: &args.run.connect,
            strip: args.strip,
            attendant,
            one_by_one: args.one,
        },
        output,
    )
    .await
}

/// Returns who installs the agent first, if that was asked for, with all it needs at hand.
async fn attendant(
    args: &Args,
    agent: Option<&AgentPreset>,
    hosts: &[Arc<Host>],
    run: GroupId,
) -> anyhow::Result<Option<Arc<Attendant>>> {
    if !args.deploy_missing && !args.ephemeral {
        return Ok(None);
    }
    if agent.is_some_and(|agent| *agent != AgentPreset::Picoclaw) {
        return Err(Failure::usage(
            "only picoclaw can be installed by --deploy-missing and --ephemeral",
        )
        .hint("leave --agent out, or install that agent yourself")
        .into());
    }
    let cache_dir = paths::cache_dir()?.join("releases");
    let origin = args.source.picoclaw(&cache_dir)?;
    let options = deploy::Options::new(deploy::Component::Picoclaw, origin, cache_dir);
    let deployer = deploy::Deployer::new(&options);
    if !args.run.task.dry_run {
        deployer.prepare(hosts).await.map_err(as_failure)?;
    }
    let mark = args
        .ephemeral
        .then(|| Mark::new(run, SystemClock.now(), args.run.task.grace));
    Ok(Some(Arc::new(Attendant::new(deployer, mark))))
}

/// Returns the hosts in the order in which they are to be tried, and tells which is first and why.
async fn candidates(hosts: &[Arc<Host>], args: &Args, output: &Output) -> Vec<Arc<Host>> {
    if args.run.task.dry_run || hosts.len() == 1 {
        return hosts.to_vec();
    }
    let links = args.run.connect.links(PROBE_TIMEOUT);
    let seen = status::probe_all(&links, hosts).await;
    let candidates: Vec<Candidate<'_>> = hosts
        .iter()
        .zip(&seen)
        .map(|(host, seen)| Candidate {
            slots: host.slots,
            seen: seen.as_ref().ok(),
        })
        .collect();
    let ranked = choose::rank(&candidates);
    let mut order: Vec<Arc<Host>> = Vec::new();
    for (at, score) in &ranked {
        let Some(host) = hosts.get(*at) else { continue };
        if order.is_empty() {
            let load = score
                .load_per_cpu
                .map_or_else(String::new, |load| format!(", load {load:.2} per cpu"));
            let running = score
                .running
                .map_or_else(String::new, |running| format!(", {running} running"));
            let installed = if score.installed {
                "agent installed"
            } else {
                "agent missing"
            };
            output.note(&format!("chose {}: {installed}{running}{load}", host.name));
        }
        order.push(Arc::clone(host));
    }
    // Hosts that did not answer come last: one may be back by then, and if not, their reason is shown.
    order.extend(
        hosts
            .iter()
            .zip(&seen)
            .filter(|(_, seen)| seen.is_err())
            .map(|(host, _)| Arc::clone(host)),
    );
    order
}

/// `dispatch "task" web1` would send a task called web1; whoever writes that means the host. So it is with
/// what selects hosts, unless it comes first.
fn check_no_host_among(texts: &[String], fleet: &Fleet) -> Result<(), Failure> {
    if texts.len() < 2 {
        return Ok(());
    }
    let (message, flag) = if let Some(name) = texts.iter().find(|text| fleet.host(text).is_some()) {
        (format!("`{name}` is a host, not a task"), name.clone())
    } else if let Some(text) = texts.iter().skip(1).find(|text| selects(text, fleet)) {
        (
            format!("`{text}` selects hosts, it is not a task"),
            format!("'{text}'"),
        )
    } else {
        return Ok(());
    };
    Err(Failure::usage(message).hint(format!(
        "choose hosts with --on {flag}; for a task of that name use --tasks FILE"
    )))
}

/// Tells whether a text that could be one word of a command line selects hosts.
fn selects(text: &str, fleet: &Fleet) -> bool {
    if text.contains(char::is_whitespace) {
        return false;
    }
    let Ok(selector) = Selector::parse(text) else {
        return false;
    };
    let selection = Selection {
        selectors: vec![selector],
        limit: None,
    };
    match select(fleet, &selection) {
        Ok(_) | Err(select::Error::Disabled { .. } | select::Error::NothingLeft) => true,
        Err(
            select::Error::Malformed { .. } | select::Error::NoMatch { .. } | select::Error::Empty,
        ) => false,
    }
}
