//! `skyclaw job submit`: as `enqueue-shell`, or any jobs from a file.

use std::path::PathBuf;

use anyhow::Context;
use serde::Deserialize;

use crate::cli::coordinators::CoordinatorArgs;
use crate::cli::enqueue::{AfterArgs, Batch, JobArgs, deliver, read_text, shell};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::protocol::api::{GroupRequest, SubmitJob};

/// Ask for a job that runs a command, or for the jobs in a file
///
/// A file holds one job as `POST /v1/jobs` takes it, a list of them, or {"jobs": […], "group": {…}}.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw job submit --file jobs.json --wait\n\nExit codes: 0 accepted, 1 refused, 2 usage or configuration error, 69 no coordinator could be reached.\nWith --wait or --follow: as `skyclaw job wait`."
)]
pub struct Args {
    /// Take the jobs from a JSON file; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    pub file: Option<PathBuf>,
    /// The command and its arguments, unchanged
    #[arg(
        value_name = "CMD",
        trailing_var_arg = true,
        required_unless_present = "file"
    )]
    pub command: Vec<String>,
    /// What follows.
    #[command(flatten)]
    pub after: AfterArgs,
    /// What the job is like.
    #[command(flatten)]
    pub job: JobArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// What a job file may hold.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    jobs: Vec<SubmitJob>,
    group: Option<GroupRequest>,
}

/// Runs the verb.
///
/// # Errors
/// When the file cannot be used or the coordinator cannot be asked.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let batch = match &args.file {
        None => args.job.batch(shell(&args.command, args.job.process()?))?,
        Some(path) => {
            if args.job != JobArgs::default() {
                return Err(Failure::usage(
                    "--file: the jobs in it say themselves how they run; leave the other job options out",
                )
                .into());
            }
            from_file(path)?
        }
    };
    deliver(batch, &args.after, &args.coordinator, output).await
}

fn from_file(path: &std::path::Path) -> anyhow::Result<Batch> {
    let text = read_text(path)?;
    let bad = |error: serde_json::Error| {
        Failure::usage(format!("{} is no job file", path.display())).because(error)
    };
    let file = match text.trim_start().as_bytes().first() {
        Some(b'[') => File {
            jobs: serde_json::from_str(&text).map_err(bad)?,
            group: None,
        },
        _ => {
            let value: serde_json::Value = serde_json::from_str(&text).map_err(bad)?;
            if value.get("jobs").is_some() {
                serde_json::from_str(&text).map_err(bad)?
            } else {
                File {
                    jobs: vec![serde_json::from_str(&text).map_err(bad)?],
                    group: None,
                }
            }
        }
    };
    if let Some(at) = file.jobs.iter().position(|job| job.payload.is_none()) {
        return Err(
            Failure::usage(format!("{}: job {} has no payload", path.display(), at + 1)).into(),
        );
    }
    Batch::of(file.jobs, file.group).with_context(|| format!("read {}", path.display()))
}
