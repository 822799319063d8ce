//! `skyclaw job cancel`: takes jobs back.

use super::{parse_id, some_ids};
use crate::cli::args::JsonArgs;
use crate::cli::coordinators::CoordinatorArgs;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::protocol::api::CancelJobs;
use crate::protocol::{GroupId, JobId};

/// Take jobs back: waiting ones end at once, running ones are told to end
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw job cancel --group 0192f0c0-7c1e-7a3b-9d2e-0123456789ab --reason \"wrong input\"\n\nExit codes: 0 each is ended or will be, 1 there is no such job, 2 usage or configuration error, 69 no coordinator could be reached."
)]
pub struct Args {
    /// The jobs
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub ids: Vec<JobId>,
    /// All jobs of this group that have not ended
    #[arg(long, value_name = "GROUP")]
    pub group: Option<GroupId>,
    /// What to tell whoever looks at them later
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How long a running job may tidy up before it is killed [default: 10s]
    #[arg(long, value_name = "SPAN", value_parser = crate::support::span::parse)]
    pub grace: Option<std::time::Duration>,
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
    some_ids(&args.ids, args.group.is_some())?;
    let cancel = CancelJobs {
        ids: args.ids.clone(),
        group: args.group,
        reason: args.reason.clone(),
        grace_ms: args
            .grace
            .map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)),
    };
    let done = args.coordinator.client()?.cancel(&cancel).await?;
    let words = [
        (&done.ended, "cancelled"),
        (&done.asked, "is running; its host is told to end it"),
        (&done.already_ended, "had ended before"),
    ];
    for (ids, word) in words {
        for id in ids {
            output.line(&format!("{id} {word}"));
        }
    }
    for id in &done.unknown {
        output.note(&format!("there is no {id}"));
    }
    output.document(&done)?;
    Ok(if done.unknown.is_empty() {
        Exit::Success
    } else {
        Exit::Failed
    })
}
