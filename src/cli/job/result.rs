//! `skyclaw job result`: what came of a job.

use serde_json::json;

use super::follow::Screen;
use super::{OneJob, words};
use crate::cli::args::JsonArgs;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::Output;

/// Print what a job printed, as far as its result keeps it
///
/// The first and the last part of each stream are kept, 128 KiB of each; `skyclaw job logs` shows more.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw job result job_0192f0c0-7c1e-7a3b-9d2e-0123456789ab --json\n\nExit codes: 0 printed, 1 there is no such job or it has no result, 2 usage or configuration error, 69 no coordinator could be reached."
)]
pub struct Args {
    /// Do not escape control sequences on a terminal
    #[arg(long)]
    pub raw: bool,
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
/// When there is no such job, it has no result, or the coordinator cannot be asked.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let job = args.job.coordinator.client()?.job(args.job.id).await?;
    let Some(result) = &job.result else {
        let failure = match job.status.is_final() {
            true => Failure::new(
                Exit::Failed,
                format!("{} has no result: {}", job.id, words::standing(&job)),
            ),
            false => Failure::new(
                Exit::Failed,
                format!("{} has not ended: it is {}", job.id, words::standing(&job)),
            )
            .hint(format!("wait for it with `skyclaw job wait {}`", job.id)),
        };
        return Err(failure.into());
    };
    let mut screen = Screen::new(output, args.raw);
    screen.result(result);
    screen.finish();
    output.document(&json!({
        "job": job.id, "status": job.status, "reason": job.reason, "result": result, "usage": job.usage,
    }))?;
    Ok(Exit::Success)
}
