//! `skyclaw fleet rollback`: brings back the program that the last deploy replaced.

use std::sync::Arc;

use anyhow::Context;

use super::args::{FleetArgs, FormatArgs, SelectArgs, load_fleet};
use super::connect::{CONNECT_TIMEOUT, ConnectArgs, selected};
use super::deploy::report::Outcome;
use super::deploy::{Components, Task, on_each, outcome, outlives};
use super::exit::Exit;
use super::output::Output;
use super::progress::Line;
use crate::fleet::deploy::Component;
use crate::fleet::file::Host;
use crate::fleet::link::Links;
use crate::fleet::rollback::run_on;
use crate::support::shutdown::Shutdown;

/// Bring back the program that the last deploy replaced
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The program and its predecessor (~/.local/bin/NAME.prev) change places, and the host daemon is started anew; what was\nrunning there may end first. Once more is back where it was. Settings stay as they are.\n\nExample: skyclaw fleet rollback web3 --component host\n\nExit codes: 0 done, 1 a host has no former program or it does not run, 2 usage or configuration error,\n4 some hosts could not be reached and all others are done, 130 or 143 stopped."
)]
pub struct Args {
    /// Which hosts.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Which fleet file.
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// What to bring back: picoclaw, host (skyclaw itself) or all [default: picoclaw]
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        default_value_t,
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub component: Components,
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
/// When something is wrong before any host is contacted.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let fleet = load_fleet(&args.fleet, output)?;
    let hosts = selected(&fleet, &args.select.selection()?, output)?;
    let shutdown = Shutdown::listen().context("listen for signals")?;
    let components: &'static [Component] = match args.component {
        Components::Picoclaw => &[Component::Picoclaw],
        Components::Host => &[Component::Host],
        Components::All => &[Component::Picoclaw, Component::Host],
    };
    let links = args.connect.links(CONNECT_TIMEOUT);
    let work = |host: Arc<Host>, links: Links, line: Line| async move {
        match links.open(&host).await {
            Ok(link) => {
                line.step("swapping");
                let done = run_on(&link.connection, components).await;
                drop(link);
                outcome(outlives(done, &host, &links).await)
            }
            Err(error) => Outcome::NotConnected(error),
        }
    };
    let task = Task {
        verb: "rollback",
        dry_run: false,
        hosts: &hosts,
        links: &links,
    };
    on_each(task, shutdown, output, work).await
}
