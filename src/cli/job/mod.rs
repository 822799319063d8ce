//! `skyclaw job …`: the list of its verbs.

mod cancel;
mod explain;
pub mod follow;
pub mod group;
mod list;
mod logs;
mod outcome;
mod pages;
mod result;
mod retry;
mod show;
mod submit;
mod wait;
mod words;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::coordinators::CoordinatorArgs;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Format, Output};
use crate::protocol::JobId;
use crate::support::shutdown::{Cause, Shutdown, Urgency};

pub use outcome::exit_of;
pub use wait::{PATIENCE, line};
pub use words::what;

/// Work with the jobs of a coordinator
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Example: skyclaw job list --status failed\n\nExit codes: 0 done, 1 something failed, 2 usage or configuration error, 69 no coordinator could be reached; each command's help lists its own."
)]
pub struct Group {
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be done with jobs.
#[derive(Debug, Subcommand)]
#[allow(
    missing_docs,
    reason = "a doc here would replace the help text of the arguments"
)]
pub enum Verb {
    Submit(Box<submit::Args>),
    List(list::Args),
    Show(show::Args),
    Wait(wait::Args),
    Logs(logs::Args),
    Result(result::Args),
    Cancel(cancel::Args),
    Retry(retry::Args),
    Explain(explain::Args),
}

impl Group {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        match &self.verb {
            Verb::Submit(args) => args.after.json.format(),
            Verb::List(args) => args.format.format(),
            Verb::Show(args) => args.json.format(),
            Verb::Wait(args) => args.json.format(),
            Verb::Logs(args) => args.format(),
            Verb::Result(args) => args.json.format(),
            Verb::Cancel(args) => args.json.format(),
            Verb::Retry(args) => args.json.format(),
            Verb::Explain(args) => args.json.format(),
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// As the verb does.
pub async fn run(group: &Group, output: &Output) -> anyhow::Result<Exit> {
    match &group.verb {
        Verb::Submit(args) => submit::run(args, output).await,
        Verb::List(args) => list::run(args, output).await,
        Verb::Show(args) => show::run(args, output).await,
        Verb::Wait(args) => wait::run(args, output).await,
        Verb::Logs(args) => logs::run(args, output).await,
        Verb::Result(args) => result::run(args, output).await,
        Verb::Cancel(args) => cancel::run(args, output).await,
        Verb::Retry(args) => retry::run(args, output).await,
        Verb::Explain(args) => explain::run(args, output).await,
    }
}

/// Reads a job's id: with `job_` before it or without.
///
/// # Errors
/// When it is none.
pub fn parse_id(text: &str) -> Result<JobId, String> {
    let whole = match text.starts_with("job_") {
        true => text.to_owned(),
        false => format!("job_{text}"),
    };
    whole
        .parse()
        .map_err(|_| "a job's id is job_ and a UUID, as `skyclaw job list` prints it".to_owned())
}

/// Does `work` until it is done or a signal asks to stop. Whatever runs elsewhere goes on: `still`
/// says what, and how to end it.
///
/// # Errors
/// As `work`.
pub async fn unless_stopped(
    work: impl Future<Output = anyhow::Result<Exit>>,
    still: impl Fn() -> Option<String>,
    output: &Output,
) -> anyhow::Result<Exit> {
    let mut shutdown = Shutdown::listen().context("listen for signals")?;
    output.leave_on(&shutdown);
    let asked = shutdown.clone();
    tokio::select! {
        done = work => done,
        () = shutdown.reached(Urgency::Stop) => {
            if let Some(still) = still() {
                output.note(&still);
            }
            Ok(match asked.cause() {
                Some(Cause::Terminate) => Exit::Terminated,
                Some(Cause::Interrupt) | None => Exit::Interrupted,
            })
        }
    }
}

/// What is said about a job that is left alone.
pub fn goes_on(ids: &[JobId]) -> Option<String> {
    match ids {
        [] => None,
        [id] => Some(format!(
            "{id} goes on; end it with `skyclaw job cancel {id}`, wait for it with `skyclaw job wait {id}`"
        )),
        [first, ..] => Some(format!(
            "{} jobs go on, the first is {first}; see `skyclaw job list`",
            ids.len()
        )),
    }
}

/// The ids that a verb was given, as a usage error if there are none and no group either.
fn some_ids(ids: &[JobId], group: bool) -> Result<(), Failure> {
    if ids.is_empty() && !group {
        return Err(Failure::usage("name a job, or a group with --group")
            .hint("`skyclaw job list` shows ids"));
    }
    Ok(())
}

/// For verbs about one job.
#[derive(Debug, Clone, Args)]
pub struct OneJob {
    /// The job
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub id: JobId,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}
