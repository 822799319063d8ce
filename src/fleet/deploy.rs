//! Puts the agent (or skyclaw itself) on a host, with the settings it needs to work.
//!
//! One look at the host, a pure plan, then its steps: [`Deployer::run_on`]. Running it twice is running
//! it once. Keys travel on the encrypted channel alone: in no argument, log, error or plan.

pub mod apply;
mod artifacts;
pub mod daemon;
mod desk;
pub mod error;
mod fetch;
pub mod lock;
pub mod observe;
mod outcome;
pub mod plan;
mod settings;
mod supply;
pub(in crate::fleet) mod trial;
mod write;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::fleet::agent::picoclaw;
use crate::fleet::ephemeral::{self, Undone, Whose};
use crate::fleet::file::Host;
use crate::fleet::service::settings::Asks;
use crate::fleet::target::{Os, Target};
use crate::ssh::{self, Connection};
use apply::Work;
use artifacts::Artifacts;
use daemon::Daemon;
use desk::Desk;
use observe::{Observed, look};
use plan::{Desired, plan};
use settings::Providers;

pub use artifacts::Origin;
pub use error::{DeployError, PrepareError};
pub use outcome::{Change, Deployed, Planned};
pub use supply::Supply;

/// How long onboard may take.
pub const ONBOARD_LIMIT: Duration = Duration::from_secs(60);

/// A program that can be deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The agent.
    Picoclaw,
    /// skyclaw itself.
    Host,
}

impl Component {
    /// Returns where it goes, below the home directory.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Picoclaw => picoclaw::PROGRAM,
            Self::Host => crate::fleet::seat::PROGRAM,
        }
    }

    /// Returns the argument that makes it print its version.
    pub const fn version_argument(self) -> &'static str {
        match self {
            Self::Picoclaw => "version",
            Self::Host => "--version",
        }
    }

    /// Returns the version in what it printed, or nothing if another program answered.
    pub fn parse_version(self, stdout: &str) -> Option<String> {
        match self {
            Self::Picoclaw => picoclaw::parse_version(stdout),
            Self::Host => stdout
                .lines()
                .find_map(|line| line.strip_prefix("skyclaw "))
                .map(|version| version.trim().to_owned()),
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Picoclaw => "picoclaw",
            Self::Host => "skyclaw",
        })
    }
}

/// What is deployed, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Each program with where it comes from, in the order of installation.
    pub programs: Vec<(Component, Origin)>,
    /// Where archives given as files are unpacked.
    pub cache_dir: PathBuf,
    /// Install programs that are there already.
    pub force: bool,
    /// Believe the fleet file about the architecture, not the host.
    pub force_arch: bool,
    /// Which coordinator the host daemon asks for work; none puts its program there and starts nothing.
    pub daemon: Option<Asks>,
    /// How long onboard may take.
    pub onboard_limit: Duration,
}

impl Options {
    /// Returns options to deploy one program from `origin`, the usual way.
    pub fn new(component: Component, origin: Origin, cache_dir: PathBuf) -> Self {
        Self {
            programs: vec![(component, origin)],
            cache_dir,
            force: false,
            force_arch: false,
            daemon: None,
            onboard_limit: ONBOARD_LIMIT,
        }
    }
}

/// How far a host has come, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is being looked at.
    Observing,
    /// Its program is being fetched.
    Fetching,
    /// Its program is on its way.
    Uploading {
        /// The program's size.
        bytes: u64,
    },
    /// It downloads its program.
    Downloading,
    /// Its program is being tested.
    Testing,
    /// PicoClaw writes its first configuration.
    Onboarding,
    /// Our settings are being merged.
    Settings,
    /// The host daemon is being started; the jobs of one that runs may end first.
    Starting,
}

/// Deploys to any number of hosts; what they share is fetched once.
pub struct Deployer {
    programs: Vec<(Component, Artifacts)>,
    providers: Providers,
    force: bool,
    force_arch: bool,
    daemon: Option<Asks>,
    onboard_limit: Duration,
}

impl Deployer {
    /// Returns a deployer. Nothing is read or asked before [`Deployer::prepare`] or the first host.
    pub fn new(options: &Options) -> Self {
        let artifacts = |component, origin| Artifacts::new(origin, component, &options.cache_dir);
        Self {
            programs: options
                .programs
                .iter()
                .map(|(component, origin)| (*component, artifacts(*component, origin)))
                .collect(),
            providers: Providers::default(),
            force: options.force,
            force_arch: options.force_arch,
            daemon: options.daemon.clone(),
            onboard_limit: options.onboard_limit,
        }
    }

    /// Gets everything that can be had, and finds everything that can be wrong, before a host is contacted.
    ///
    /// # Errors
    /// When a host has no key or no usable provider, or there is no such release.
    pub async fn prepare(&self, hosts: &[Arc<Host>]) -> Result<(), PrepareError> {
        if self.needs_provider() {
            for host in hosts {
                self.providers.of(host).await?;
            }
        }
        for (_, artifacts) in &self.programs {
            artifacts.look_up().await.map_err(PrepareError::Release)?;
        }
        Ok(())
    }

    /// Deploys to the host at the other end of `connection`.
    ///
    /// # Errors
    /// See [`DeployError`]; whatever stood at a path before then still stands there whole.
    pub async fn run_on(
        &self,
        connection: &Connection,
        host: &Host,
    ) -> Result<Deployed, DeployError> {
        self.run_and_report(connection, host, &|_| {}).await
    }

    /// Deploys as [`Deployer::run_on`] does and tells `report` how far it has come.
    ///
    /// # Errors
    /// As [`Deployer::run_on`].
    pub async fn run_and_report(
        &self,
        connection: &Connection,
        host: &Host,
        report: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Deployed, DeployError> {
        let mut desk = Desk::new(connection);
        let mut planned = self.plan_at(&mut desk, host, report, None).await?;
        let mut earlier = None;
        if planned.observed.is_ephemeral {
            // Whoever undid that later would take away what is deployed now.
            let undoing = desk.beside(|connection| async move {
                Ok(ephemeral::undo(connection, Whose::Abandoned).await?)
            });
            let undone = undoing.await?;
            planned = self.plan_at(&mut desk, host, report, None).await?;
            if let Undone::Run { mark, .. } = undone {
                let notice = format!("undid what was left there by {mark}");
                planned.warnings.push(notice.clone());
                earlier = Some(notice);
            }
        }
        if !planned.changes() {
            desk.leave().await;
            return self.execute_at(&mut desk, planned, report).await;
        }
        let taken_over = lock::lock(&mut desk).await?;
        // Somebody else may have been at work until now.
        let seen = Some(&planned.observed);
        let again = match self.plan_at(&mut desk, host, report, seen).await {
            Err(DeployError::Ssh(ssh::Error::ChannelRefused { .. })) => {
                // This server allows no command beside the one that holds the lock.
                desk.close().await;
                self.plan_at(&mut desk, host, report, None).await
            }
            again => again,
        };
        let deployed = match again {
            Ok(mut planned) => {
                let notice = |owner| format!("took over a lock that was left there by {owner}");
                planned.warnings.extend(taken_over.map(notice));
                planned.warnings.extend(earlier);
                self.execute_at(&mut desk, planned, report).await
            }
            Err(error) => Err(error),
        };
        desk.close().await;
        deployed
    }

    /// Does what was planned.
    ///
    /// # Errors
    /// As [`Deployer::run_on`].
    pub async fn execute(
        &self,
        connection: &Connection,
        planned: Planned,
        report: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Deployed, DeployError> {
        let mut desk = Desk::new(connection);
        let deployed = self.execute_at(&mut desk, planned, report).await;
        desk.close().await;
        deployed
    }

    async fn execute_at(
        &self,
        desk: &mut Desk<'_>,
        planned: Planned,
        report: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Deployed, DeployError> {
        let mut work = Work {
            desk,
            provider: planned.desired.provider.as_ref(),
            daemon: planned.desired.daemon.as_ref(),
            files: &planned.observed.files,
            onboard_limit: self.onboard_limit,
            force: self.force,
            report,
        };
        let applied = work.apply(&planned.steps).await?;
        Ok(planned.into_deployed(applied))
    }

    /// Looks at the host and returns what a deploy would do. Writes nothing there.
    ///
    /// # Errors
    /// As [`Deployer::run_on`].
    pub async fn plan_on(
        &self,
        connection: &Connection,
        host: &Host,
        report: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Planned, DeployError> {
        let mut desk = Desk::new(connection);
        let planned = self.plan_at(&mut desk, host, report, None).await;
        desk.leave().await;
        planned
    }

    /// Plans; what cannot have changed since `earlier` is not asked again.
    async fn plan_at(
        &self,
        desk: &mut Desk<'_>,
        host: &Host,
        report: &(dyn Fn(Progress) + Send + Sync),
        earlier: Option<&Observed>,
    ) -> Result<Planned, DeployError> {
        report(Progress::Observing);
        let paths: Vec<&str> = self.programs.iter().map(|(c, _)| c.path()).collect();
        let observed = look(desk, &paths, self.daemon.is_some(), earlier).await?;
        let mut warnings = Vec::new();
        let target = self.target(host, observed.target.clone(), &mut warnings)?;
        report(Progress::Fetching);
        let desired = Desired {
            programs: self.artifacts(target).await?,
            provider: match self.needs_provider() {
                true => Some(self.providers.of(host).await?),
                false => None,
            },
            daemon: match (&self.daemon, observed.daemon.clone()) {
                (Some(asks), Some(found)) => {
                    Some(Daemon::of(desk.connection(), host, asks, found, &mut warnings).await?)
                }
                (None, _) | (_, None) => None,
            },
            force: self.force,
        };
        Ok(Planned {
            steps: plan(&observed, &desired)?,
            warnings,
            observed,
            desired,
        })
    }

    fn needs_provider(&self) -> bool {
        self.programs
            .iter()
            .any(|(component, _)| *component == Component::Picoclaw)
    }

    /// Settles what the host runs on: it knows better than the file, unless told otherwise.
    fn target(
        &self,
        host: &Host,
        detected: Result<Target, crate::fleet::target::Error>,
        warnings: &mut Vec<String>,
    ) -> Result<Target, DeployError> {
        let written = host.arch;
        let detected = match (detected, written) {
            (Ok(target), _) => target,
            (Err(_), Some(arch)) if self.force_arch => {
                let os = Os::Linux;
                return Ok(Target { os, arch });
            }
            (Err(error), _) => return Err(error.into()),
        };
        let Some(arch) = written.filter(|arch| *arch != detected.arch) else {
            return Ok(detected);
        };
        let (used, why) = if self.force_arch {
            (arch, "as --force-arch says")
        } else {
            (
                detected.arch,
                "correct `arch` there, or insist with --force-arch",
            )
        };
        warnings.push(format!(
            "the fleet file says {arch}, the host is {}: {used} is used; {why}",
            detected.arch
        ));
        Ok(Target {
            arch: used,
            ..detected
        })
    }

    async fn artifacts(&self, target: Target) -> Result<Vec<(Component, Supply)>, DeployError> {
        let mut artifacts = Vec::new();
        for (component, source) in &self.programs {
            let fetched = source.get(target).await;
            let artifact = fetched.map_err(|source| DeployError::Artifact {
                component: *component,
                source,
            })?;
            artifacts.push((*component, artifact));
        }
        Ok(artifacts)
    }
}
