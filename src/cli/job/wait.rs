//! `skyclaw job wait`: waits for jobs and exits as they did.

use std::time::Duration;

use serde_json::json;

use super::{goes_on, group, outcome, parse_id, some_ids, unless_stopped, words};
use crate::cli::args::JsonArgs;
use crate::cli::coordinators::CoordinatorArgs;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::protocol::{GroupId, JobId, JobRecord};
use crate::support::span::{Limit, parse_limit};

/// How long a coordinator may be away before whoever waits for a job gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Wait until jobs have ended
///
/// With one job the exit code is the job's own. With several it is 0 if all ended well, else 1, or 124 if
/// nothing worse happened than a limit.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw job wait job_0192f0c0-7c1e-7a3b-9d2e-0123456789ab --timeout 10m\n\nExit codes: that of the job (128 + signal for a death by signal), 1 it failed in another way or is unknown, 2 usage or configuration error, 69 no coordinator could be reached, 124 the job or the wait ran into its limit, 130/143 stopped by a signal; the jobs then go on."
)]
pub struct Args {
    /// The jobs
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub ids: Vec<JobId>,
    /// All jobs of this group
    #[arg(long, value_name = "GROUP", conflicts_with = "ids")]
    pub group: Option<GroupId>,
    /// How long to wait; 0 means no limit
    #[arg(long, value_name = "SPAN", value_parser = parse_limit, default_value = "0")]
    pub timeout: Limit,
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
/// When there is no such job or the coordinator cannot be asked.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    some_ids(&args.ids, args.group.is_some())?;
    let client = args.coordinator.client()?;
    let work = async {
        let jobs = match args.group {
            Some(id) => group::wait(&client, id, args.timeout.0).await?,
            None => group::wait_each(&client, &args.ids, args.timeout.0).await?,
        };
        report(&jobs, output)
    };
    unless_stopped(work, || goes_on(&args.ids), output).await
}

/// Prints where the jobs stand after the wait and returns what they come to.
///
/// # Errors
/// When the result cannot be printed.
pub fn report(jobs: &[JobRecord], output: &Output) -> anyhow::Result<Exit> {
    for job in jobs {
        output.line(&line(job));
    }
    match jobs {
        [job] => output.document(&json!({ "job": job }))?,
        jobs => output.document(&json!({ "jobs": jobs }))?,
    }
    Ok(Exit::fold(jobs.iter().map(outcome::exit_of)))
}

/// Returns one line about a job that was waited for.
pub fn line(job: &JobRecord) -> String {
    let mut line = format!("{} {}", job.id, words::standing(job));
    let exit = words::exit(job);
    if !exit.is_empty() && job.status.is_final() {
        line.push_str(&format!(", exit {exit}"));
    }
    if let Some(error) = &job.error {
        line.push_str(&format!(": {error}"));
    }
    line
}
