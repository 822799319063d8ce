//! `skyclaw fleet up` and `fleet down`: a controller that works for the fleet for as long as it runs.

mod coordinator;
mod detach;
mod down;
mod lines;
mod screen;
mod serve;
mod unit;

pub use down::{DownArgs, run as down};

use super::args::{FleetArgs, FormatArgs, SelectArgs};
use super::connect::ConnectArgs;
use super::error::Failure;
use super::exit::Exit;
use super::given::Given;
use super::output::Output;
use crate::fleet::controller::Place;

/// Work for the fleet until told to stop: a queue of this machine's own, and its jobs run on the hosts
///
/// Jobs come from `skyclaw enqueue-*` and from anybody who has the token, stay in the queue until a host is there
/// to run them, and survive a restart. Hosts get them over SSH; a host that cannot be reached is tried again until
/// it can. SIGHUP (SIGUSR1 on a terminal) reads the fleet file again.
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("fanout", |arg| arg.hide(true)),
    after_help = "Example: skyclaw fleet up --detach && skyclaw fleet down\n\n\
The port on 127.0.0.1 asks for the token in controller.token of the state directory, or the one in\n\
SKYCLAW_TOKEN or SKYCLAW_TOKEN_FILE if set.\n\n\
Exit codes: 0 stopped by a signal or `fleet down`, 1 it could not run (another one runs, the port is\n\
taken), 2 usage or configuration error."
)]
pub struct Args {
    /// Which hosts.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Port on 127.0.0.1; 0 picks one [default: 8787, or any free one]
    #[arg(long)]
    pub port: Option<u16>,
    /// Go on in the background, in a session of its own; what it says goes to controller.log of the state directory
    #[arg(long, conflicts_with_all = ["json", "ndjson"])]
    pub detach: bool,
    /// How long running jobs may go on when it stops, in milliseconds [default: 30000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_DRAIN_MS",
        hide_env_values = true
    )]
    pub drain_ms: Option<Given<u64>>,
    /// How long a job is believed to run without a sign of life, in milliseconds [default: 60000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_LEASE_MS",
        hide_env_values = true
    )]
    pub lease_ms: Option<Given<u64>>,
    /// Print a unit for systemd and exit
    #[arg(long)]
    pub print_unit: bool,
    /// This is the process in the background.
    #[arg(long, hide = true)]
    pub detached: bool,
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

/// Has a controller that runs look at its hosts again, because something was deployed or removed. What was
/// done stands either way.
pub fn hosts_have_changed() {
    match Place::of_this_machine().and_then(|place| place.look_again()) {
        Ok(true) => tracing::info!("the controller that runs looks at its hosts again"),
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(%error, "cannot tell the controller to look at its hosts again")
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// When the controller cannot be started, or another one runs.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if args.print_unit {
        let list = args.select.flags.hosts_from.as_deref();
        if list.is_some_and(|path| path.as_os_str() == "-") {
            return Err(Failure::usage(
                "--hosts-from - in a unit: a service has no standard input",
            )
            .hint("name a file with --hosts-from, or the hosts")
            .into());
        }
        output.bytes(unit::unit()?.as_bytes());
        return Ok(Exit::Success);
    }
    if args.detach {
        return detach::run(args, output).await;
    }
    serve::run(args, output).await
}
