//! `skyclaw job explain`: why a job waits.

use super::OneJob;
use crate::cli::args::JsonArgs;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::cli::table::Table;

/// Say why a job stands where it stands: for each host, the first reason why it cannot run it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw job explain job_0192f0c0-7c1e-7a3b-9d2e-0123456789ab\n\nExit codes: 0 explained, 1 there is no such job, 2 usage or configuration error, 69 no coordinator could be reached."
)]
pub struct Args {
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Which job.
    #[command(flatten)]
    pub job: OneJob,
}

/// Runs the verb.
///
/// # Errors
/// When there is no such job or the coordinator cannot be asked.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let explained = args.job.coordinator.client()?.explain(args.job.id).await?;
    output.line(&explained.summary);
    if !explained.hosts.is_empty() {
        let mut table = Table::new(["HOST", "CAN RUN IT", "WHY"]);
        for verdict in &explained.hosts {
            let can = if verdict.can_run { "yes" } else { "no" };
            table.row([verdict.name.as_str(), can, verdict.why.as_str()]);
        }
        output.table(&table);
    }
    output.document(&explained)?;
    Ok(Exit::Success)
}
