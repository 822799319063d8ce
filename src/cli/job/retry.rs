//! `skyclaw job retry`: asks for ended jobs again.

use crate::cli::args::JsonArgs;
use crate::cli::coordinators::CoordinatorArgs;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::protocol::JobId;
use crate::protocol::api::RetryJobs;

/// Ask for ended jobs again, as new jobs; prints the new ids
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw job retry job_0192f0c0-7c1e-7a3b-9d2e-0123456789ab\n\nExit codes: 0 all are asked for again, 1 one is unknown or has not ended, 2 usage or configuration error, 69 no coordinator could be reached."
)]
pub struct Args {
    /// The jobs
    #[arg(value_name = "ID", value_parser = super::parse_id, required = true)]
    pub ids: Vec<JobId>,
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// Runs the verb.
///
/// # Errors
/// When the coordinator cannot be asked.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let retry = RetryJobs {
        ids: args.ids.clone(),
    };
    let done = args.coordinator.client()?.retry(&retry).await?;
    for (_, new) in &done.retried {
        output.line(&new.to_string());
    }
    for id in &done.not_ended {
        output.note(&format!("{id} has not ended"));
    }
    for id in &done.unknown {
        output.note(&format!("there is no {id}"));
    }
    output.document(&done)?;
    let all = done.not_ended.is_empty() && done.unknown.is_empty();
    Ok(if all { Exit::Success } else { Exit::Failed })
}
