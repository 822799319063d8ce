//! `skyclaw fleet deploy`: puts PicoClaw and its settings, or skyclaw and its daemon, on hosts.

mod args;
pub(super) mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::args::load_fleet_with;
use super::connect::{CONNECT_TIMEOUT, selected};
use super::error::Failure;
use super::exit::Exit;
use super::output::Output;
use super::progress::{Line, Progress as Bars};
use super::up;
use crate::fleet::deploy::{DeployError, Deployed, Deployer, PrepareError, Progress};
use crate::fleet::file::Host;
use crate::fleet::link::Links;
use crate::fleet::release;
use crate::support::shutdown::{Cause, Shutdown, Urgency};
pub use args::{Args, Components, SourceArgs};
use report::{Outcome, Report};

/// Runs the verb.
///
/// # Errors
/// When something is wrong before any host is contacted.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let options = args.options()?;
    let fleet = load_fleet_with(&args.fleet, args.fields(), output)?;
    let hosts = selected(&fleet, &args.select.selection()?, output)?;
    let mut shutdown = Shutdown::listen().context("listen for signals")?;
    let deployer = Arc::new(Deployer::new(&options));
    let preparing = deployer.prepare(&hosts);
    tokio::select! {
        prepared = preparing => prepared.map_err(as_failure)?,
        () = shutdown.reached(Urgency::Stop) => return Ok(stopped(&shutdown)),
    }
    let links = args.connect.links(CONNECT_TIMEOUT);
    let dry_run = args.dry_run;
    let work = |host: Arc<Host>, links: Links, line: Line| {
        let deployer = Arc::clone(&deployer);
        async move { deploy(&deployer, &host, &links, dry_run, line).await }
    };
    let task = Task {
        verb: "deploy",
        dry_run,
        hosts: &hosts,
        links: &links,
    };
    on_each(task, shutdown, output, work).await
}

/// What changes programs on hosts, and which hosts.
pub(super) struct Task<'a> {
    pub verb: &'static str,
    pub dry_run: bool,
    pub hosts: &'a [Arc<Host>],
    pub links: &'a Links,
}

/// Does `work` on every host until `shutdown`, and reports what came of each.
pub(super) async fn on_each<F>(
    task: Task<'_>,
    mut shutdown: Shutdown,
    output: &Output,
    work: impl Fn(Arc<Host>, Links, Line) -> F,
) -> anyhow::Result<Exit>
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let Task {
        verb,
        dry_run,
        hosts,
        links,
    } = task;
    let mut report = Report::new(hosts, dry_run, output);
    let bars = Bars::start(output, verb, hosts.len());
    let lines = bars.lines();
    let timed = |_, host: Arc<Host>, links: Links| {
        let line = lines.host(host.name.as_str(), "connecting");
        let working = work(host, links, line);
        async move {
            let started_at = Instant::now();
            (working.await, started_at.elapsed())
        }
    };
    let mut was_stopped = None;
    tokio::select! {
        () = links.each(hosts, timed, |position, (outcome, took): (Outcome, Duration)| {
            bars.done();
            report.take(position, outcome, took);
        }) => {}
        // Dropping the work closes the connections; what is half sent is not put in place.
        () = shutdown.reached(Urgency::Stop) => was_stopped = Some(stopped(&shutdown)),
    }
    drop(bars);
    if !dry_run {
        up::hosts_have_changed();
    }
    let exit = report.finish()?;
    Ok(was_stopped.unwrap_or(exit))
}

fn stopped(shutdown: &Shutdown) -> Exit {
    match shutdown.cause() {
        Some(Cause::Terminate) => Exit::Terminated,
        Some(Cause::Interrupt) | None => Exit::Interrupted,
    }
}

async fn deploy(
    deployer: &Deployer,
    host: &Host,
    links: &Links,
    dry_run: bool,
    line: Line,
) -> Outcome {
    let link = match links.open(host).await {
        Ok(link) => link,
        Err(error) => return Outcome::NotConnected(error),
    };
    let name = host.name.clone();
    let watch = move |progress: Progress| {
        tracing::info!(host = %name, step = ?progress, "deploying");
        line.step(&step_text(progress));
    };
    outcome(if dry_run {
        let planned = deployer.plan_on(&link.connection, host, &watch).await;
        planned.map(|planned| Outcome::Planned(Box::new(planned)))
    } else {
        let deployed = deployer
            .run_and_report(&link.connection, host, &watch)
            .await;
        // A daemon that ends with the connection that started it would be no daemon.
        drop(link);
        outlives(deployed, host, links).await
    })
}

/// Tells a host whose step failed from one that was lost.
pub(super) fn outcome(done: Result<Outcome, DeployError>) -> Outcome {
    match done {
        Ok(outcome) => outcome,
        Err(DeployError::Ssh(error)) if !matches!(error, crate::ssh::Error::Upload { .. }) => {
            Outcome::Lost(error)
        }
        Err(error) => Outcome::Failed(error),
    }
}

/// Looks whether a daemon that was started has outlived the connection.
pub(super) async fn outlives(
    deployed: Result<Deployed, DeployError>,
    host: &Host,
    links: &Links,
) -> Result<Outcome, DeployError> {
    let deployed = deployed?;
    if let Some(service) = &deployed.service {
        service.outlives(links, host).await?;
    }
    Ok(Outcome::Deployed(Box::new(deployed)))
}

fn step_text(progress: Progress) -> String {
    match progress {
        Progress::Observing => "looking".to_owned(),
        Progress::Fetching => "fetching the release".to_owned(),
        Progress::Uploading { bytes } => format!("sending {:.1} MiB", bytes as f64 / 1_048_576.0),
        Progress::Downloading => "downloading".to_owned(),
        Progress::Testing => "testing".to_owned(),
        Progress::Onboarding => "onboarding".to_owned(),
        Progress::Settings => "merging settings".to_owned(),
        Progress::Starting => "starting the daemon".to_owned(),
    }
}

/// Classes what is wrong before any host was contacted.
pub(super) fn as_failure(error: PrepareError) -> anyhow::Error {
    let wrong_input = match &error {
        PrepareError::Key { .. } | PrepareError::Provider { .. } | PrepareError::Env { .. } => true,
        PrepareError::Release(source) => matches!(
            source,
            release::Error::Repository(_)
                | release::Error::Address(_)
                | release::Error::Digest(_)
                // Of a release nothing but its description is fetched before hosts are: these are --from's.
                | release::Error::Mismatch { .. }
                | release::Error::TooLarge { .. }
                | release::Error::Archive { .. }
                | release::Error::Member { .. }
                | release::Error::NotAProgram { .. }
        ),
        PrepareError::Thread(_) => false,
    };
    let hint = match &error {
        PrepareError::Key { source, .. } => Some(source.hint()),
        PrepareError::Provider { .. } => Some(
            "set provider, model and api_base in the fleet file, or with --provider, --model and --api-base"
                .to_owned(),
        ),
        PrepareError::Env { .. } | PrepareError::Release(_) | PrepareError::Thread(_) => None,
    };
    let exit = if wrong_input {
        Exit::Usage
    } else {
        Exit::Failed
    };
    let failure = Failure::new(exit, error.to_string());
    let failure = match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    };
    match error {
        PrepareError::Release(source) => failure.because(source).into(),
        PrepareError::Key { .. }
        | PrepareError::Provider { .. }
        | PrepareError::Env { .. }
        | PrepareError::Thread(_) => failure.into(),
    }
}
