//! `skyclaw fleet deploy`: puts PicoClaw and its settings on hosts.

mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;

use super::args::{FleetArgs, FormatArgs, SelectArgs, load_fleet_with};
use super::connect::{CONNECT_TIMEOUT, ConnectArgs, selected};
use super::error::Failure;
use super::exit::Exit;
use super::output::Output;
use crate::fleet::deploy::{
    Component, DeployError, Deployer, ONBOARD_LIMIT, Options, Origin, PrepareError, Progress,
};
use crate::fleet::file::{Fields, Host};
use crate::fleet::link::Links;
use crate::fleet::release::{self, DEFAULT_API, DEFAULT_REPOSITORY, Digest, ReleaseSource};
use crate::support::paths;
use crate::support::secret::Secret;
use crate::support::shutdown::{Cause, Shutdown, Urgency};
use report::{Outcome, Report};

/// Put PicoClaw and its settings on hosts
///
/// Fetches the program once on this machine, checks its digest, sends it over SSH and tests it there; then
/// merges provider, model and API key into the files of PicoClaw, keeping whatever else is in them. A host
/// that is as it should be is left alone. One host that fails stops no other.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw fleet deploy 'web*' --version v0.2.9\n\nExit codes: 0 every host is as asked, 1 a host or the release failed, 2 wrong flag, fleet file, provider or a missing API key (nothing was contacted), 4 some hosts could not be reached and all others are done, 130 or 143 stopped."
)]
pub struct Args {
    /// Which hosts.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Which fleet file.
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// What to install.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which settings.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Install again what is there already
    #[arg(long)]
    pub force: bool,
    /// Believe the `arch` of the fleet file, not what the host says
    #[arg(long)]
    pub force_arch: bool,
    /// Connect and look, print what would be done, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to connect.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// What is installed and where it comes from.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "What to install")]
pub struct SourceArgs {
    /// What to install: picoclaw, host (skyclaw itself) or all [default: picoclaw]
    ///
    /// `host` installs this very program where the host is of the same kind, or the one given with --from.
    /// It does not start a service yet: service files come with a later version.
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        default_value_t,
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub component: Components,
    /// Install this file, a program or a .tar.gz with it inside; no network is needed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tag", "repo", "base_url", "api_url"])]
    pub from: Option<PathBuf>,
    /// Release to install [default: the latest]
    #[arg(long = "version", value_name = "TAG")]
    pub tag: Option<String>,
    /// Repository of the releases [default: EricGrill/picoclaw]
    #[arg(long, value_name = "OWNER/NAME")]
    pub repo: Option<String>,
    /// Server to download from, instead of the one the release names
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// Release API to ask [default: https://api.github.com]; it gets GITHUB_TOKEN if that is set
    #[arg(long, value_name = "URL")]
    pub api_url: Option<String>,
    /// What the digest of the asset or file must be, whatever checksum files say
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
    /// Install even if nobody says what the digest should be
    #[arg(long)]
    pub insecure_no_checksum: bool,
    /// Where to download: only controller (this machine) for now
    #[arg(
        long,
        value_name = "WHERE",
        value_enum,
        default_value_t,
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub fetch: Fetch,
}

/// Settings that outrank the fleet file.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Model (instead of the fleet file's)")]
pub struct ModelArgs {
    /// Model provider
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Model
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Address of the provider's API
    #[arg(long, value_name = "URL")]
    pub api_base: Option<String>,
}

/// What can be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Components {
    /// The agent
    #[default]
    Picoclaw,
    /// skyclaw itself
    Host,
    /// Both
    All,
}

/// Where downloads happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Fetch {
    /// Once, on this machine
    #[default]
    Controller,
    /// On every host
    Host,
}

/// Runs the verb.
///
/// # Errors
/// When something is wrong before any host is contacted.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let flags = Fields {
        provider: args.model.provider.clone(),
        model: args.model.model.clone(),
        api_base: args.model.api_base.clone(),
        ..Fields::default()
    };
    let options = args.options()?;
    let fleet = load_fleet_with(&args.fleet, flags, output)?;
    let hosts = selected(&fleet, &args.select.selection()?, output)?;
    let mut shutdown = Shutdown::listen().context("listen for signals")?;
    let deployer = Arc::new(Deployer::new(&options));
    let preparing = deployer.prepare(&hosts);
    tokio::select! {
        prepared = preparing => prepared.map_err(as_failure)?,
        () = shutdown.reached(Urgency::Stop) => return Ok(stopped(&shutdown)),
    }
    let mut report = Report::new(&hosts, args.dry_run, output);
    let links = args.connect.links(CONNECT_TIMEOUT);
    let dry_run = args.dry_run;
    let work = |_, host: Arc<Host>, links: Links| {
        let deployer = Arc::clone(&deployer);
        async move {
            let started_at = Instant::now();
            let outcome = deploy(&deployer, &host, &links, dry_run).await;
            (outcome, started_at.elapsed())
        }
    };
    let mut was_stopped = None;
    tokio::select! {
        () = links.each(&hosts, work, |position, (outcome, took): (Outcome, Duration)| {
            report.take(position, outcome, took);
        }) => {}
        // Dropping the work closes the connections; what is half sent is not put in place.
        () = shutdown.reached(Urgency::Stop) => was_stopped = Some(stopped(&shutdown)),
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

async fn deploy(deployer: &Deployer, host: &Host, links: &Links, dry_run: bool) -> Outcome {
    let link = match links.open(host).await {
        Ok(link) => link,
        Err(error) => return Outcome::NotConnected(error),
    };
    let name = host.name.clone();
    let watch = move |progress: Progress| {
        tracing::info!(host = %name, step = ?progress, "deploying");
    };
    let outcome = if dry_run {
        let planned = deployer.plan_on(&link.connection, host, &watch).await;
        planned.map(|planned| Outcome::Planned(Box::new(planned)))
    } else {
        let deployed = deployer
            .run_and_report(&link.connection, host, &watch)
            .await;
        deployed.map(|deployed| Outcome::Deployed(Box::new(deployed)))
    };
    match outcome {
        Ok(outcome) => outcome,
        Err(DeployError::Ssh(error)) if !matches!(error, crate::ssh::Error::Upload { .. }) => {
            Outcome::Lost(error)
        }
        Err(error) => Outcome::Failed(error),
    }
}

/// Classes what is wrong before any host was contacted.
fn as_failure(error: PrepareError) -> anyhow::Error {
    let wrong_input = match &error {
        PrepareError::Key { .. } | PrepareError::Provider { .. } => true,
        PrepareError::Release(source) => matches!(
            source,
            release::Error::Repository(_) | release::Error::Address(_) | release::Error::Digest(_)
        ),
        PrepareError::Thread(_) => false,
    };
    let hint = match &error {
        PrepareError::Key { source, .. } => Some(source.hint()),
        PrepareError::Provider { .. } => Some(
            "set provider, model and api_base in the fleet file, or with --provider, --model and --api-base"
                .to_owned(),
        ),
        PrepareError::Release(_) | PrepareError::Thread(_) => None,
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
        PrepareError::Key { .. } | PrepareError::Provider { .. } | PrepareError::Thread(_) => {
            failure.into()
        }
    }
}

impl Args {
    fn options(&self) -> anyhow::Result<Options> {
        let cache_dir = paths::cache_dir()?.join("releases");
        let source = &self.source;
        if source.fetch == Fetch::Host {
            return Err(Failure::usage("--fetch host is not supported yet")
                .hint("leave it out: this machine fetches once and sends it to every host")
                .into());
        }
        let programs = match source.component {
            Components::Picoclaw => vec![(Component::Picoclaw, source.picoclaw(&cache_dir)?)],
            Components::Host => vec![(Component::Host, source.skyclaw()?)],
            Components::All if source.from.is_some() => {
                let failure = Failure::usage("--from is one program, --component all are two");
                return Err(failure.hint("deploy one after the other").into());
            }
            Components::All => vec![
                (Component::Picoclaw, source.picoclaw(&cache_dir)?),
                (Component::Host, source.skyclaw()?),
            ],
        };
        Ok(Options {
            programs,
            cache_dir,
            force: self.force,
            force_arch: self.force_arch,
            onboard_limit: ONBOARD_LIMIT,
        })
    }
}

impl SourceArgs {
    fn picoclaw(&self, cache_dir: &std::path::Path) -> anyhow::Result<Origin> {
        let sha256 = self.digest()?;
        if let Some(path) = &self.from {
            return file(path.clone(), sha256);
        }
        let token = std::env::var("GITHUB_TOKEN").ok();
        Ok(Origin::Release(Box::new(ReleaseSource {
            repo: self
                .repo
                .clone()
                .unwrap_or_else(|| DEFAULT_REPOSITORY.to_owned()),
            api_base: self
                .api_url
                .clone()
                .unwrap_or_else(|| DEFAULT_API.to_owned()),
            download_base: self.base_url.clone(),
            tag: self.tag.clone(),
            token: token.filter(|token| !token.is_empty()).map(Secret::new),
            sha256,
            allow_missing_checksum: self.insecure_no_checksum,
            ..ReleaseSource::new(cache_dir.to_owned())
        })))
    }

    fn skyclaw(&self) -> anyhow::Result<Origin> {
        match &self.from {
            Some(path) => file(path.clone(), self.digest()?),
            None => Ok(Origin::File {
                path: std::env::current_exe().context("find this program's own file")?,
                sha256: None,
            }),
        }
    }

    fn digest(&self) -> anyhow::Result<Option<Digest>> {
        let Some(text) = &self.sha256 else {
            return Ok(None);
        };
        let digest = text.parse::<Digest>();
        Ok(Some(digest.map_err(|error| {
            Failure::usage(format!("--sha256: {error}"))
        })?))
    }
}

fn file(path: PathBuf, sha256: Option<Digest>) -> anyhow::Result<Origin> {
    let opened = std::fs::File::open(&path).and_then(|file| file.metadata());
    match opened {
        Ok(metadata) if metadata.is_file() => Ok(Origin::File { path, sha256 }),
        Ok(_) => Err(Failure::usage(format!("--from {}: not a file", path.display())).into()),
        Err(error) => {
            let failure = Failure::usage(format!("--from {}", path.display()));
            Err(failure.because(error).into())
        }
    }
}
