//! `skyclaw queue show|pause|resume`: the queue of a coordinator as a whole.

use clap::Subcommand;

use super::args::JsonArgs;
use super::coordinators::CoordinatorArgs;
use super::exit::Exit;
use super::output::{Format, Output};
use super::table::Table;

/// Look at the queue of a coordinator, stop it, let it go on
#[derive(Debug, clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Example: skyclaw queue show\n\nExit codes: 0 done, 1 the coordinator refused, 2 usage or configuration error, 69 no coordinator could be reached."
)]
pub struct Group {
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be done with a queue.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show how many jobs wait, run and have ended
    Show(Args),
    /// Give out no more jobs; what runs goes on
    Pause(Args),
    /// Give out jobs again
    Resume(Args),
}

/// Flags of all three.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw queue show\n\nExit codes: 0 done, 1 the coordinator refused, 2 usage or configuration error, 69 no coordinator could be reached."
)]
pub struct Args {
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

impl Group {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        match &self.verb {
            Verb::Show(args) | Verb::Pause(args) | Verb::Resume(args) => args.json.format(),
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// When the coordinator cannot be asked.
pub async fn run(group: &Group, output: &Output) -> anyhow::Result<Exit> {
    let state = match &group.verb {
        Verb::Show(args) => args.coordinator.client()?.queue().await?,
        Verb::Pause(args) => args.coordinator.client()?.pause_queue().await?,
        Verb::Resume(args) => args.coordinator.client()?.resume_queue().await?,
    };
    let mut table = Table::new(["PAUSED", "QUEUED", "LEASED", "COMPLETED", "FAILED"]);
    let counts = state.counts;
    table.row([
        if state.paused { "yes" } else { "no" }.to_owned(),
        counts.queued.to_string(),
        counts.leased.to_string(),
        counts.completed.to_string(),
        counts.failed.to_string(),
    ]);
    output.table(&table);
    output.document(&state)?;
    Ok(Exit::Success)
}
