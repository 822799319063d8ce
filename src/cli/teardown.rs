//! `skyclaw fleet teardown`: removes what deploy put on hosts.

mod rows;

use std::sync::Arc;

use anyhow::Context;
use clap::ValueEnum;

use self::rows::{Document, Row, table};
use super::args::{FleetArgs, FormatArgs, SelectArgs, load_fleet};
use super::connect::{CONNECT_TIMEOUT, ConnectArgs, selected};
use super::each_host::each_host;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Format, Output};
use super::progress::Line;
use super::up;
use crate::fleet::file::Host;
use crate::fleet::link::Links;
use crate::fleet::teardown::{Options, Report, run_on};
use crate::ssh::Error;
use crate::support::shutdown::{Cause, Shutdown, Urgency};

/// Which hosts, in this verb's words: elsewhere naming none means all of them.
const HOSTS_HELP: &str =
    "Hosts: NAME, 'web*', 'node[1-5,9]', label=value, @group or '!exclude'; none are guessed";
const ON_HELP: &str =
    "Hosts: NAME, 'web*', 'node[1-5,9]', label=value, @group or '!exclude'; repeat for more";

/// Remove what deploy put on hosts
///
/// That is the program and its previous version, the deployed key, marked lines of shell rc files, the lock and
/// leftovers of uploads. What else the agent keeps in ~/.picoclaw stays without --purge.
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("hosts", |arg| arg.help(HOSTS_HELP)),
    mut_arg("on", |arg| arg.help(ON_HELP)),
    after_help = "Example: skyclaw fleet teardown web3 --dry-run\n\nExit codes: 0 nothing of ours is left, 1 something remains or was refused, 2 usage or configuration\nerror or no consent, 4 a host is unreachable, 130 stopped by Ctrl-C."
)]
pub struct Args {
    /// Which hosts.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Every host of the fleet file
    #[arg(long, conflicts_with_all = ["hosts", "on", "hosts_from"])]
    pub all: bool,
    /// Also end running tasks and remove ~/.picoclaw whole, with all the agent wrote there
    #[arg(long)]
    pub purge: bool,
    /// What to remove
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub component: Component,
    /// Only show what would go
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Which fleet file.
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
    /// How to connect.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// What teardown removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Component {
    /// PicoClaw
    #[default]
    #[value(alias = "picoclaw")]
    Agent,
    /// The skyclaw host daemon
    Host,
    /// Both
    All,
}

impl Args {
    fn options(&self) -> Options {
        Options {
            agent: self.component != Component::Host,
            // A purge leaves no daemon behind that would look for its agent.
            host: self.component != Component::Agent || self.purge,
            purge: self.purge,
            keep_program: false,
            dry_run: self.dry_run,
        }
    }

    fn names_hosts(&self) -> bool {
        let flags = &self.select.flags;
        self.all
            || !self.select.hosts.is_empty()
            || !flags.on.is_empty()
            || flags.hosts_from.is_some()
    }
}

/// Runs the verb.
///
/// # Errors
/// When no host is named, the fleet file or the selection is wrong, or consent is missing.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if !args.names_hosts() {
        return Err(Failure::usage("teardown does not guess which hosts")
            .hint("name HOSTS, or give --all for every host of the fleet file")
            .into());
    }
    let fleet = load_fleet(&args.fleet, output)?;
    let hosts = selected(&fleet, &args.select.selection()?, output)?;
    if !args.dry_run && !output.confirm(&question(args, &hosts), args.yes).await? {
        return Err(Failure::usage("nothing was removed").into());
    }
    let shutdown = Shutdown::listen().context("listen for signals")?;
    let mut stop = shutdown.clone();
    let links = args.connect.links(CONNECT_TIMEOUT);
    tokio::select! {
        rows = sweep(args.options(), &hosts, &links, output) => {
            let rows = rows?;
            if !args.dry_run {
                up::hosts_have_changed();
            }
            show(args, &rows, output)?;
            Ok(Exit::fold(rows.iter().map(Row::exit)))
        }
        () = stop.reached(Urgency::Stop) => {
            output.note("stopped: some hosts may be done and some not; running it again is safe");
            Ok(match shutdown.cause() {
                Some(Cause::Terminate) => Exit::Terminated,
                Some(Cause::Interrupt) | None => Exit::Interrupted,
            })
        }
    }
}

fn question(args: &Args, hosts: &[Arc<Host>]) -> String {
    const MOST_NAMED: usize = 5;
    let mut names: Vec<String> = hosts
        .iter()
        .take(MOST_NAMED)
        .map(|host| host.name.to_string())
        .collect();
    if hosts.len() > MOST_NAMED {
        names.push(format!("{} more", hosts.len() - MOST_NAMED));
    }
    let what = match args.component {
        Component::Agent => "PicoClaw and its key",
        Component::Host => "the skyclaw host daemon",
        Component::All => "PicoClaw, its key and the skyclaw host daemon",
    };
    let purge = if args.purge {
        ", end running tasks and delete their data"
    } else {
        ""
    };
    format!("Remove {what}{purge} on {}?", names.join(", "))
}

async fn sweep(
    options: Options,
    hosts: &[Arc<Host>],
    links: &Links,
    output: &Output,
) -> anyhow::Result<Vec<Row>> {
    let work = move |host: Arc<Host>, links: Links, line: Line| async move {
        let done = on(&host, &links, options, || line.step("removing")).await;
        Row::new(&host, options, done)
    };
    each_host("teardown", hosts, links, output, work).await
}

async fn on(
    host: &Host,
    links: &Links,
    options: Options,
    connected: impl FnOnce(),
) -> Result<Report, Error> {
    let link = links.open(host).await?;
    connected();
    run_on(&link.connection, options).await
}

fn show(args: &Args, rows: &[Row], output: &Output) -> anyhow::Result<()> {
    let document = Document::new(args.dry_run, rows);
    match output.format() {
        Format::Human => output.table(&table(rows)),
        Format::Json => output.document(&document)?,
        Format::Ndjson => output.event("summary", &document.summary)?,
    }
    Ok(())
}
