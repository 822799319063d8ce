//! The arguments shared by many verbs, and the root of the command tree.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::OnceLock;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::error::Failure;
use super::output::Format;
use super::{
    call, coordinator, demo, enqueue, events, fleet, gateway, host, job, output, peer, queue_verbs,
    service,
};
use crate::fleet::file::{self, Fields, Fleet, Overrides};
use crate::fleet::select::{Selection, Selector};
use crate::support::telemetry::{Form, Verbosity};

/// Let one machine run work on many.
#[derive(Debug, Parser)]
#[command(
    name = "skyclaw",
    version,
    about = "Let one machine run work on many: pushed over SSH, or pulled from a durable queue",
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Example: skyclaw fleet hosts\n\nExit codes: 0 done, 1 something failed, 2 usage or configuration error; each command's help lists its own."
)]
pub struct Cli {
    /// Flags every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What skyclaw can do.
#[derive(Debug, Subcommand)]
#[allow(
    missing_docs,
    reason = "a doc here would replace the help text of the arguments"
)]
pub enum Command {
    Fleet(fleet::Group),
    Coordinator(Box<coordinator::Args>),
    Host(Box<host::Args>),
    Gateway(Box<gateway::Args>),
    Call(Box<call::Args>),
    EnqueueShell(Box<enqueue::ShellVerb>),
    EnqueueOpenclaw(Box<enqueue::OpenclawVerb>),
    EnqueueAutomaton(Box<enqueue::AutomatonVerb>),
    EnqueuePicoclaw(Box<enqueue::PicoclawVerb>),
    Job(job::Group),
    DeployService(Box<service::deploy::Args>),
    ListServices(service::list::PlainArgs),
    Service(service::Group),
    Queue(queue_verbs::Group),
    Peer(Box<peer::Group>),
    Events(events::Args),
    Demo(demo::Args),
    /// Ends the jobs of a host daemon that is gone
    #[command(hide = true)]
    HostWatch,
}

impl Command {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        match self {
            Self::Fleet(group) => group.format(),
            Self::Coordinator(args) => args.format(),
            Self::Host(args) => args.format(),
            Self::EnqueueShell(args) => args.format(),
            Self::EnqueueOpenclaw(args) => args.format(),
            Self::EnqueueAutomaton(args) => args.format(),
            Self::EnqueuePicoclaw(args) => args.format(),
            Self::Job(group) => group.format(),
            Self::DeployService(args) => args.format(),
            Self::ListServices(args) => args.format(),
            Self::Service(group) => group.format(),
            Self::Queue(group) => group.format(),
            Self::Peer(group) => group.format(),
            Self::Events(args) => args.format(),
            Self::Gateway(_) | Self::Call(_) | Self::Demo(_) | Self::HostWatch => Format::Human,
        }
    }

    /// Returns the form of log lines.
    pub fn log_form(&self) -> Form {
        match self {
            Self::Coordinator(args) => args.log_form(),
            Self::Host(args) => args.log_form(),
            Self::Gateway(args) => args.log_form(),
            Self::Fleet(_)
            | Self::EnqueueShell(_)
            | Self::EnqueueOpenclaw(_)
            | Self::EnqueueAutomaton(_)
            | Self::EnqueuePicoclaw(_)
            | Self::Job(_)
            | Self::DeployService(_)
            | Self::ListServices(_)
            | Self::Service(_)
            | Self::Queue(_)
            | Self::Peer(_)
            | Self::Events(_)
            | Self::Call(_)
            | Self::Demo(_)
            | Self::HostWatch => Form::Text,
        }
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set; elsewhere only with CLICOLOR_FORCE
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Flags every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Say more on stderr; repeat for more still
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing on stderr but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// When to use colour [default: auto]
    #[arg(
        long = "color",
        value_name = "WHEN",
        global = true,
        value_enum,
        default_value_t,
        hide_default_value = true,
        hide_possible_values = true,
        help = "Use colour: auto, always or never [default: auto]"
    )]
    pub colour: Colour,
}

impl Global {
    /// Returns how much is logged.
    pub fn verbosity(&self) -> Verbosity {
        Verbosity {
            more: self.verbose,
            quiet: self.quiet,
        }
    }

    /// Tells whether stderr gets colour.
    pub fn colour_on_stderr(&self) -> bool {
        output::wants_colour(self.colour, std::io::stderr().is_terminal(), |name| {
            std::env::var_os(name)
        })
    }
}

/// For verbs that can print one JSON document.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct JsonArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

impl JsonArgs {
    /// Returns the format asked for.
    pub fn format(self) -> Format {
        if self.json {
            Format::Json
        } else {
            Format::Human
        }
    }
}

/// For verbs that can print one JSON document, or one event per line.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct FormatArgs {
    /// Print one JSON document
    #[arg(long, conflicts_with = "ndjson")]
    pub json: bool,
    /// Print one JSON event per line
    #[arg(long)]
    pub ndjson: bool,
}

impl FormatArgs {
    /// Returns the format asked for.
    pub fn format(self) -> Format {
        match (self.json, self.ndjson) {
            (true, _) => Format::Json,
            (false, true) => Format::Ndjson,
            (false, false) => Format::Human,
        }
    }
}

/// Which fleet file.
#[derive(Debug, Clone, Default, Args)]
pub struct FleetArgs {
    /// Fleet file [default: $SKYCLAW_FLEET_CONFIG, else ~/.openclaw/workspace/config/picoclaw-fleet.json]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl FleetArgs {
    /// Returns where the fleet file is.
    ///
    /// # Errors
    /// When there is no place for it.
    pub fn path(&self) -> Result<PathBuf, file::Error> {
        file::locate(self.config.as_deref())
    }
}

/// Which hosts, for verbs whose positional arguments are something else.
#[derive(Debug, Clone, Default, Args)]
pub struct OnArgs {
    /// Hosts: NAME, 'web*', 'node[1-5,9]', label=value, @group or '!exclude'; repeat for more [default: all]
    #[arg(long = "on", value_name = "HOSTS")]
    pub on: Vec<String>,
    /// Take hosts from a file, one per line; - is stdin
    #[arg(long, value_name = "FILE")]
    pub hosts_from: Option<PathBuf>,
    /// Take at most N hosts, the first in file order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
}

/// Which hosts, named by position or by flag.
#[derive(Debug, Clone, Default, Args)]
pub struct SelectArgs {
    /// Hosts: NAME, 'web*', 'node[1-5,9]', label=value, @group or '!exclude' [default: all]
    #[arg(value_name = "HOSTS")]
    pub hosts: Vec<String>,
    /// The same as flags.
    #[command(flatten)]
    pub flags: OnArgs,
}

impl SelectArgs {
    /// Returns the selection asked for, reading `--hosts-from`.
    ///
    /// # Errors
    /// When a selector is malformed or the list of hosts cannot be read.
    pub fn selection(&self) -> anyhow::Result<Selection> {
        self.flags.selection_with(&self.hosts)
    }
}

impl OnArgs {
    /// Returns the selection asked for, reading `--hosts-from`.
    ///
    /// # Errors
    /// When a selector is malformed or the list of hosts cannot be read.
    pub fn selection(&self) -> anyhow::Result<Selection> {
        self.selection_with(&[])
    }

    fn selection_with(&self, positional: &[String]) -> anyhow::Result<Selection> {
        let mut selectors = Vec::new();
        for text in positional.iter().chain(&self.on) {
            selectors.push(Selector::parse(text)?);
        }
        if let Some(path) = &self.hosts_from {
            let listed = Selector::parse_list(&read_list(path)?)?;
            if listed.is_empty() {
                // Without this, an empty list would mean every host.
                return Err(Failure::usage(format!("no host in {}", path.display()))
                    .hint("--hosts-from wants one host per line; leave it out for all hosts")
                    .into());
            }
            selectors.extend(listed);
        }
        Ok(Selection {
            selectors,
            limit: self
                .limit
                .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        })
    }
}

/// What came on standard input, which can be read only once.
static STDIN: OnceLock<String> = OnceLock::new();

/// Returns the list of hosts that came on standard input, if it was asked for.
pub fn list_on_stdin() -> Option<&'static str> {
    STDIN.get().map(String::as_str)
}

fn read_stdin() -> std::io::Result<String> {
    if let Some(text) = STDIN.get() {
        return Ok(text.clone());
    }
    let text = std::io::read_to_string(std::io::stdin().lock())?;
    Ok(STDIN.get_or_init(|| text).clone())
}

fn read_list(path: &std::path::Path) -> Result<String, Failure> {
    let read = if path.as_os_str() == "-" {
        read_stdin()
    } else {
        std::fs::read_to_string(path)
    };
    match read {
        Ok(text) => Ok(text),
        Err(error) => {
            Err(Failure::usage(format!("read list of hosts {}", path.display())).because(error))
        }
    }
}

/// Loads the fleet file for a verb: a missing one becomes the template, warnings become notes.
///
/// # Errors
/// When the file was missing (the template is there now) or cannot be used.
pub fn load_fleet(args: &FleetArgs, output: &output::Output) -> anyhow::Result<Fleet> {
    load_fleet_with(args, Fields::default(), output)
}

/// Loads the fleet file as [`load_fleet`] does; what `flags` say outranks it and the environment.
///
/// # Errors
/// As [`load_fleet`].
pub fn load_fleet_with(
    args: &FleetArgs,
    flags: Fields,
    output: &output::Output,
) -> anyhow::Result<Fleet> {
    let path = args.path()?;
    let overrides = Overrides {
        flags,
        ..Overrides::from_process()?
    };
    match Fleet::load(&path, &overrides) {
        Ok(fleet) => {
            for warning in &fleet.warnings {
                output.note(&output::problem_line(&path, warning));
            }
            Ok(fleet)
        }
        Err(file::Error::Missing { path }) => {
            if !file::write_template(&path)? {
                // Something is there that cannot be read through, such as a dangling link.
                return Err(file::Error::Missing { path }.into());
            }
            Err(Failure::usage(format!(
                "no fleet file at {}: a template was written there",
                path.display()
            ))
            .hint(format!(
                "put your hosts into {}, then run this again",
                path.display()
            ))
            .into())
        }
        Err(error) => Err(error.into()),
    }
}
