//! `skyclaw host`: runs jobs of a coordinator on this machine, and asks the daemon that does.

mod args;
mod lines;
mod rule_args;
mod service_args;
mod settings;
mod shed;

use std::path::PathBuf;

use anyhow::Context;

pub use self::args::Args;
use self::args::{Local, LogFormat, WorkArgs};
use self::lines::Lines;
use super::error::Failure;
use super::exit::Exit;
use super::hosts_remote;
use super::output::{Format, Output};
use super::table::Table;
use crate::client::{self, Client, HostOrder};
use crate::host::control::{self, Answer, Ask};
use crate::host::{self, watch};
use crate::support::shutdown::Shutdown;
use crate::support::telemetry::Form;

/// The unit that `--print-unit` prints.
const UNIT: &str = include_str!("../../templates/skyclaw-host.service");

impl Args {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        match &self.command {
            Some(Local::Jobs(json)) => json.format(),
            Some(Local::Remote(command)) => command.format(),
            Some(Local::Pause(order) | Local::Resume(order)) => order.format(),
            Some(Local::StopJob { .. }) | None => Format::Human,
        }
    }

    /// Returns the form of log lines on stderr: that of the lines on stdout.
    pub fn log_form(&self) -> Form {
        match self.log_format {
            LogFormat::Text => Form::Text,
            LogFormat::Json => Form::Json,
        }
    }
}

/// Runs the daemon, or asks the one that runs.
///
/// # Errors
/// When settings cannot be used, or the daemon cannot run.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if args.print_unit {
        output.bytes(UNIT.as_bytes());
        return Ok(Exit::Success);
    }
    match &args.command {
        Some(Local::Remote(command)) => hosts_remote::run(command, output).await,
        Some(Local::Pause(order)) if order.names_hosts() => {
            order.run(HostOrder::Pause, output).await
        }
        Some(Local::Resume(order)) if order.names_hosts() => {
            order.run(HostOrder::Resume, output).await
        }
        Some(Local::Jobs(_)) => ask(args, &Ask::Jobs, output),
        Some(Local::StopJob { job }) => ask(args, &Ask::StopJob { job: *job }, output),
        Some(Local::Pause(_)) => ask(args, &Ask::Pause, output),
        Some(Local::Resume(_)) => ask(args, &Ask::Resume, output),
        None => serve(args).await,
    }
}

/// Runs the hidden watcher of a daemon.
///
/// # Errors
/// When standard input is not the daemon's socket.
pub fn watch() -> anyhow::Result<Exit> {
    watch::process::serve(std::io::stdin()).context("watch over a host daemon")?;
    Ok(Exit::Success)
}

async fn serve(args: &Args) -> anyhow::Result<Exit> {
    let settings = settings::read(args)?;
    shed::secrets(args).context("start again without secrets in the environment")?;
    let client = connect(&args.work)?;
    let shutdown = Shutdown::listen().context("listen for signals")?;
    let lines = Lines::start(args.log_format, settings.name.clone()).context("start a thread")?;
    let running = host::run(settings, client, lines.hook(), shutdown);
    // One thread for all that waits: handing each answer from thread to thread costs more than reading it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the daemon's thread")?;
    let ended = tokio::task::spawn_blocking(move || runtime.block_on(running))
        .await
        .context("run the daemon")?;
    lines.finish();
    match ended {
        Ok(()) => Ok(Exit::Success),
        Err(error) => Err(explained(error).into()),
    }
}

fn connect(work: &WorkArgs) -> anyhow::Result<Client> {
    let variable = |name: &str| std::env::var(name).ok();
    let file = match &work.coordinator_file {
        None if work.coordinator.is_empty() => variable("SKYCLAW_COORDINATOR_FILE")
            .filter(|path| !path.trim().is_empty())
            .map(PathBuf::from),
        flag => flag.clone(),
    };
    if let Some(path) = file {
        return Ok(Client::of_file(path)?);
    }
    let given = client::Given {
        urls: &work.coordinator,
        token_file: work.token_file.as_deref(),
    };
    let reached = client::Settings::read(given, variable)
        .map_err(|error| Failure::usage("coordinator").because(error))?;
    Ok(Client::new(reached)?)
}

fn explained(error: host::Error) -> Failure {
    let (exit, hints) = match &error {
        host::Error::InUse { .. } => (
            Exit::Failed,
            vec![
                "give this one an id (SKYCLAW_HOST_ID) or a directory (--state-dir) of its own"
                    .to_owned(),
            ],
        ),
        host::Error::IdInUse { .. } => (
            Exit::Failed,
            vec!["stop the other one, or give this one another id (SKYCLAW_HOST_ID)".to_owned()],
        ),
        host::Error::Once(client::Error::NoCoordinator { .. }) => (Exit::NoCoordinator, Vec::new()),
        host::Error::Once(source @ client::Error::File { .. }) => (Exit::Failed, source.hints()),
        host::Error::Once(_) | host::Error::State(_) | host::Error::System { .. } => {
            (Exit::Failed, Vec::new())
        }
    };
    let failure = Failure::new(exit, "host daemon").because(error);
    hints.into_iter().fold(failure, Failure::hint)
}

fn ask(args: &Args, ask: &Ask, output: &Output) -> anyhow::Result<Exit> {
    let dir = settings::state_dir(args)?;
    let answer = control::ask(&dir, ask).map_err(|error| {
        let failure = Failure::new(Exit::Failed, "host daemon").because(error);
        failure.hint("name the daemon with --id, --name or --state-dir as it was started")
    })?;
    match ask {
        Ask::Jobs => show(&answer, output)?,
        Ask::StopJob { job } if !answer.stopped => {
            return Err(Failure::new(Exit::Failed, format!("{job} does not run here")).into());
        }
        Ask::StopJob { job } => output.line(&format!("stopping {job}")),
        Ask::Pause => output.line(&format!("{} takes no more work", answer.host)),
        Ask::Resume => output.line(&match &answer.blocked {
            Some(why) => format!("{} takes no work: {why}", answer.host),
            None => format!("{} takes work", answer.host),
        }),
    }
    Ok(Exit::Success)
}

fn show(answer: &Answer, output: &Output) -> anyhow::Result<()> {
    let mut table = Table::new(["JOB", "ATTEMPT", "KIND", "FOR", "SINCE", "STATE"]);
    for job in &answer.jobs {
        table.row([
            job.job_id.to_string(),
            job.attempt.to_string(),
            job.kind.clone(),
            job.submitted_by.clone().unwrap_or_else(|| "-".to_owned()),
            job.since.to_string(),
            if job.running { "running" } else { "reporting" }.to_owned(),
        ]);
    }
    output.table(&table);
    if !answer.services.is_empty() {
        let mut table = Table::new(["SERVICE", "PHASE", "PORT", "RESTARTS", "ERROR"]);
        for service in &answer.services {
            table.row([
                service.name.clone(),
                service.phase.word().to_owned(),
                service
                    .port
                    .map_or_else(|| "-".to_owned(), |port| port.to_string()),
                service.restarts.to_string(),
                service.error.clone().unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        output.table(&table);
    }
    if let Some(why) = &answer.blocked {
        output.note(&format!("takes no work: {why}"));
    }
    if !answer.registered {
        output.note("no coordinator knows this host just now");
    }
    output.document(answer)
}
