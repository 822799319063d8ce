//! The flags of `skyclaw fleet deploy` and what they ask for.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;

use super::super::args::{FleetArgs, FormatArgs, SelectArgs};
use super::super::connect::ConnectArgs;
use super::super::error::Failure;
use crate::client;
use crate::fleet::deploy::{Component, ONBOARD_LIMIT, Options, Origin};
use crate::fleet::file::Fields;
use crate::fleet::release::{
    DEFAULT_API, DEFAULT_REPOSITORY, Digest, PICOCLAW, ReleaseSource, SKYCLAW,
};
use crate::fleet::seat::ControllerId;
use crate::fleet::service::settings::{self, Asks};
use crate::support::paths;
use crate::support::secret::Secret;

/// Put PicoClaw and its settings, or skyclaw and its daemon, on hosts
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The program is fetched once on this machine, its digest is checked, it is sent over SSH (or, with --fetch host, each host fetches and checks it) and tested there; one that fails its test is taken back. Then provider, model and API key are merged into the files below ~/.picoclaw; whatever else is in them stays. The host daemon is run by systemd for the user, where it can be kept running after logout, else by a script and cron; its settings are in ~/.config/skyclaw/host.env, and running jobs may end before it is started anew. A host that is as asked is left alone, and one that fails stops no other.\n\nExample: skyclaw fleet deploy 'web*' --version v0.2.9\n\nExit codes: 0 every host is as asked, 1 a host or the release failed, 2 wrong flag, file, fleet file, provider or a missing API key (nothing was contacted), 4 some hosts could not be reached and all others are done, 130 or 143 stopped."
)]
pub struct Args {
    /// Which hosts.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Which fleet file.
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// Install again what is there already
    #[arg(long)]
    pub force: bool,
    /// Believe the `arch` of the fleet file, not what the host says
    #[arg(long)]
    pub force_arch: bool,
    /// Connect and look, print what would be done, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
    /// What to install.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which settings.
    #[command(flatten)]
    pub model: ModelArgs,
    /// How the daemon runs.
    #[command(flatten)]
    pub daemon: DaemonArgs,
    /// How to connect.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// What is installed and where it comes from.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "What to install")]
pub struct SourceArgs {
    /// What to install: picoclaw, host (skyclaw itself) or all [default: picoclaw]
    ///
    /// `host` installs the build for the host's kind that lies beside this program (skyclaw-linux-arm64, …), else this
    /// very program where it fits, or the one of --from or --repo; and runs `skyclaw host` there for good.
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
    /// Where to download: controller, once on this machine, or host, on every host [default: controller]
    ///
    /// With `host` each host needs curl or wget and a way to the release server; this machine finds the release and
    /// its checksum, which the host holds its download against. A .tar.gz needs tar there and is downloaded each time.
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

/// How the host daemon runs.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Host daemon (with --component host or all)")]
pub struct DaemonArgs {
    /// Coordinator that the hosts reach themselves; repeat for more [default: `fleet up` here, through its tunnels]
    #[arg(long, value_name = "URL")]
    pub coordinator: Vec<String>,
    /// File with the token for it; it goes into the daemon's settings (0600) and nowhere else
    #[arg(long, value_name = "FILE", requires = "coordinator")]
    pub token_file: Option<PathBuf>,
    /// Put the program there and start nothing
    #[arg(long, conflicts_with = "coordinator")]
    pub no_service: bool,
}

impl DaemonArgs {
    /// Returns whom the daemon asks for work, if it is to run.
    fn asks(&self) -> anyhow::Result<Option<Asks>> {
        if self.no_service {
            return Ok(None);
        }
        if self.coordinator.is_empty() {
            let id = ControllerId::of_this_machine().context("know this controller")?;
            return Ok(Some(Asks::Controller(id)));
        }
        let given = client::Given {
            urls: &self.coordinator,
            token_file: self.token_file.as_deref(),
        };
        // No variables: what this machine asks is not what the hosts are to ask.
        let read = client::Settings::read(given, |_| None)
            .map_err(|error| Failure::usage("coordinator").because(error))?;
        let urls = read.urls.iter().map(|url| url.as_str().to_owned());
        let asks = Asks::Network {
            urls: urls.collect(),
            token: read.token,
        };
        settings::check(&asks).map_err(|error| Failure::usage("coordinator").because(error))?;
        Ok(Some(asks))
    }
}

/// What can be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Components {
    /// The agent
    #[default]
    #[value(alias = "agent")]
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

impl Args {
    /// Returns what the model flags say about every host.
    pub(super) fn fields(&self) -> Fields {
        Fields {
            provider: self.model.provider.clone(),
            model: self.model.model.clone(),
            api_base: self.model.api_base.clone(),
            ..Fields::default()
        }
    }

    /// Returns what is to be deployed, and how.
    pub(super) fn options(&self) -> anyhow::Result<Options> {
        let cache_dir = paths::cache_dir()?.join("releases");
        let source = &self.source;
        if source.fetch == Fetch::Host && source.component == Components::Host {
            return Err(
                Failure::usage("--fetch host: skyclaw itself comes from this machine")
                    .hint("leave it out: this machine sends the program to every host")
                    .into(),
            );
        }
        let programs = match source.component {
            Components::Picoclaw => vec![(Component::Picoclaw, source.picoclaw(&cache_dir)?)],
            Components::Host => vec![(Component::Host, source.skyclaw(&cache_dir)?)],
            Components::All if source.from.is_some() => {
                let failure = Failure::usage("--from is one program, --component all are two");
                return Err(failure.hint("deploy one after the other").into());
            }
            Components::All => vec![
                (Component::Picoclaw, source.picoclaw(&cache_dir)?),
                (Component::Host, source.skyclaw(&cache_dir)?),
            ],
        };
        let daemon = match source.component {
            Components::Picoclaw => None,
            Components::Host | Components::All => self.daemon.asks()?,
        };
        Ok(Options {
            daemon,
            programs,
            cache_dir,
            force: self.force,
            force_arch: self.force_arch,
            onboard_limit: ONBOARD_LIMIT,
        })
    }
}

impl SourceArgs {
    /// Returns where PicoClaw comes from.
    ///
    /// # Errors
    /// When a flag is malformed.
    pub(in crate::cli) fn picoclaw(&self, cache_dir: &Path) -> anyhow::Result<Origin> {
        let sha256 = self.digest()?;
        if self.fetch == Fetch::Host {
            let clash = match (&self.from, self.insecure_no_checksum) {
                (Some(_), _) => {
                    Some("--from is a file on this machine, which no host can download")
                }
                (None, true) => {
                    Some("--insecure-no-checksum: a host installs nothing that it cannot check")
                }
                (None, false) => None,
            };
            if let Some(clash) = clash {
                let failure = Failure::usage(format!("--fetch host with {clash}"));
                return Err(failure.hint("leave out one of the two").into());
            }
        }
        if let Some(path) = &self.from {
            return file(path.clone(), sha256);
        }
        let source = self.release(PICOCLAW, sha256, cache_dir);
        Ok(match self.fetch {
            Fetch::Controller => Origin::Release(source),
            Fetch::Host => Origin::There(source),
        })
    }

    fn release(
        &self,
        program: &'static str,
        sha256: Option<Digest>,
        cache_dir: &Path,
    ) -> Box<ReleaseSource> {
        let token = std::env::var("GITHUB_TOKEN").ok();
        Box::new(ReleaseSource {
            program,
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
        })
    }

    /// Returns where skyclaw comes from. The flags about releases are PicoClaw's, unless only skyclaw is deployed.
    fn skyclaw(&self, cache_dir: &Path) -> anyhow::Result<Origin> {
        if let Some(path) = &self.from {
            return file(path.clone(), self.digest()?);
        }
        if self.component == Components::Host {
            if self.repo.is_some() {
                let source = self.release(SKYCLAW, self.digest()?, cache_dir);
                return Ok(Origin::Release(source));
            }
            if self.tag.is_some() || self.sha256.is_some() || self.base_url.is_some() {
                let failure =
                    Failure::usage("of which repository should that release of skyclaw be?");
                return Err(failure.hint("name it with --repo OWNER/NAME").into());
            }
        }
        let program = std::env::current_exe().context("find this program's own file")?;
        let dir = program.parent().unwrap_or(Path::new(".")).to_owned();
        let running = Path::new("/proc/self/exe");
        Ok(Origin::Own {
            // Its file may have been replaced since it was started.
            program: match program.exists() || !running.exists() {
                true => program,
                false => running.to_owned(),
            },
            dir,
        })
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
