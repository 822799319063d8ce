//! `skyclaw job list`: the jobs of a coordinator.

use clap::ValueEnum;
use serde_json::json;

use super::{pages, words};
use crate::cli::args::FormatArgs;
use crate::cli::coordinators::CoordinatorArgs;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::cli::table::Table;
use crate::client::JobQuery;
use crate::protocol::{GroupId, HostId, JobRecord, JobStatus, Reason};

/// List jobs, newest first
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw job list --dead\n\nExit codes: 0 listed, 1 the coordinator refused, 2 usage or configuration error, 69 no coordinator could be reached."
)]
pub struct Args {
    /// Only those with this status
    #[arg(long, value_name = "STATUS", value_enum)]
    pub status: Option<StatusArg>,
    /// Only those that used up every try they were allowed
    #[arg(long, conflicts_with_all = ["status", "reason"])]
    pub dead: bool,
    /// Only those that failed for this reason
    #[arg(long, value_name = "REASON", value_parser = parse_reason)]
    pub reason: Option<Reason>,
    /// Only those of this group, in the order in which they run
    #[arg(long, value_name = "GROUP")]
    pub group: Option<GroupId>,
    /// Only those that this host has or had
    #[arg(long, value_name = "ID")]
    pub host: Option<HostId>,
    /// Only those that were asked for by this
    #[arg(long, value_name = "NAME")]
    pub submitted_by: Option<String>,
    /// Only those of this kind, such as shell or openclaw-run
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// How many at most; 0 means all
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// A status as a word of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "a doc here would show in the help text")]
pub enum StatusArg {
    Queued,
    Leased,
    Completed,
    Failed,
}

impl From<StatusArg> for JobStatus {
    fn from(word: StatusArg) -> Self {
        match word {
            StatusArg::Queued => Self::Queued,
            StatusArg::Leased => Self::Leased,
            StatusArg::Completed => Self::Completed,
            StatusArg::Failed => Self::Failed,
        }
    }
}

fn parse_reason(text: &str) -> Result<Reason, String> {
    let found = Reason::ALL
        .into_iter()
        .find(|reason| reason.as_str() == text);
    found.ok_or_else(|| {
        let words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        format!("one of {}", words.join(", "))
    })
}

/// Runs the verb.
///
/// # Errors
/// When the coordinator cannot be asked.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let client = args.coordinator.client()?;
    let query = JobQuery {
        status: args.status.map(JobStatus::from),
        reason: if args.dead {
            Some(Reason::Dead)
        } else {
            args.reason
        },
        group: args.group,
        host: args.host.clone(),
        submitted_by: args.submitted_by.clone(),
        kind: args.kind.clone(),
        ..JobQuery::default()
    };
    // One more than is shown tells whether there are more.
    let limit = (args.limit > 0).then(|| args.limit.saturating_add(1));
    let mut jobs = pages::all(&client, query, limit).await?;
    let more = args.limit > 0 && jobs.len() > args.limit;
    if more {
        jobs.truncate(args.limit);
    }
    output.table(&table(&jobs));
    for job in &jobs {
        output.event("job", &json!({ "job": job }))?;
    }
    output.document(&json!({ "jobs": jobs, "more": more }))?;
    if more {
        output.note(&format!(
            "only {} are shown; --limit 0 shows all",
            args.limit
        ));
    }
    Ok(Exit::Success)
}

fn table(jobs: &[JobRecord]) -> Table {
    let mut table = Table::new([
        "JOB",
        "STATUS",
        "EXIT",
        "TRIES",
        "HOST",
        "SUBMITTED",
        "WHAT",
    ]);
    for job in jobs {
        table.row([
            job.id.to_string(),
            words::standing(job),
            words::exit(job),
            job.attempts.to_string(),
            job.assigned_host_id
                .as_ref()
                .or(job.last_host_id.as_ref())
                .map(ToString::to_string)
                .unwrap_or_default(),
            job.created_at.to_string(),
            words::what(&job.payload),
        ]);
    }
    table
}
