//! `skyclaw fleet status`: which hosts can be reached and are ready for work.

mod rows;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use self::rows::{Row, Summary, table};
use super::args::{FleetArgs, FormatArgs, SelectArgs, load_fleet};
use super::connect::{ConnectArgs, selected};
use super::each_host::each_host;
use super::exit::Exit;
use super::output::{Format, Output};
use super::progress::Line;
use crate::fleet::file::Host;
use crate::fleet::link::Links;
use crate::fleet::status::{Observed, probe};
use crate::ssh::Error;
use crate::support::shutdown::{Cause, Shutdown, Urgency};
use crate::support::span;

/// A look, not work: a host that takes longer than this to let us in is not ready.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(6);
/// Moves the cursor home and clears the screen and what scrolled off it.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J\x1b[3J";

/// Show which hosts can be reached and are ready for work
///
/// Asks every host once over SSH and changes nothing there.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw fleet status 'web*' --wide --watch 5s\n\nExit codes: 0 every host could be reached, 2 usage or configuration error, 4 a host is unreachable,\n10 PicoClaw is not installed on a host (with --require-installed), 130 stopped by Ctrl-C."
)]
pub struct Args {
    /// Which hosts.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Also show versions, load, free memory and disk, latency, clock offset and the last task
    #[arg(long)]
    pub wide: bool,
    /// Ask again and again, this long after the last answer, until stopped
    #[arg(long, value_name = "SPAN", value_parser = span::parse, conflicts_with = "json")]
    pub watch: Option<Duration>,
    /// End with code 10 if PicoClaw is not installed on a reachable host
    #[arg(long)]
    pub require_installed: bool,
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

/// Runs the verb.
///
/// # Errors
/// When the fleet file or the selection is wrong.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let fleet = load_fleet(&args.fleet, output)?;
    let hosts = selected(&fleet, &args.select.selection()?, output)?;
    let mut shutdown = Shutdown::listen().context("listen for signals")?;
    let mut stop = shutdown.clone();
    let exit = tokio::select! {
        result = rounds(args, &hosts, output) => result?,
        () = stop.reached(Urgency::Stop) => stopped(&mut shutdown),
    };
    Ok(exit)
}

fn stopped(shutdown: &mut Shutdown) -> Exit {
    match shutdown.cause() {
        Some(Cause::Terminate) => Exit::Terminated,
        Some(Cause::Interrupt) | None => Exit::Interrupted,
    }
}

async fn rounds(args: &Args, hosts: &[Arc<Host>], output: &Output) -> anyhow::Result<Exit> {
    let links = args.connect.links(CONNECT_TIMEOUT);
    let mut first = true;
    loop {
        let rows = look(hosts, &links, output).await?;
        show(args, &rows, first, output)?;
        first = false;
        match args.watch {
            // A reader that went away wants no more rounds.
            Some(pause) if !output.is_closed() => tokio::time::sleep(pause).await,
            Some(_) | None => return Ok(exit_of(args, &rows)),
        }
    }
}

/// Asks every host once; events come as hosts answer, rows in file order.
async fn look(hosts: &[Arc<Host>], links: &Links, output: &Output) -> anyhow::Result<Vec<Row>> {
    let work = |host: Arc<Host>, links: Links, line: Line| async move {
        let seen = ask(&host, &links, || line.step("asking")).await;
        Row::new(&host, seen)
    };
    each_host("status", hosts, links, output, work).await
}

async fn ask(host: &Host, links: &Links, connected: impl FnOnce()) -> Result<Observed, Error> {
    let link = links.open(host).await?;
    connected();
    probe(&link.connection).await
}

fn show(args: &Args, rows: &[Row], first: bool, output: &Output) -> anyhow::Result<()> {
    let summary = Summary::of(rows);
    match output.format() {
        Format::Human => {
            if args.watch.is_some() && output.streams().out_width.is_some() {
                output.bytes(CLEAR);
            } else if !first {
                output.line("");
            }
            output.table(&table(rows, args.wide));
        }
        Format::Json => output.document(&rows::Document {
            hosts: rows,
            summary,
        })?,
        Format::Ndjson => output.event("summary", &summary)?,
    }
    Ok(())
}

fn exit_of(args: &Args, rows: &[Row]) -> Exit {
    Exit::fold(rows.iter().map(|row| {
        if !row.is_reachable() {
            Exit::Unreachable
        } else if args.require_installed && !row.is_installed() {
            Exit::NotInstalled
        } else {
            Exit::Success
        }
    }))
}
