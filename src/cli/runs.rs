//! `skyclaw fleet runs` and `skyclaw fleet show`: what was run, and what came of it.

use serde_json::{Value, json};

use super::args::FormatArgs;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Format, Output};
use super::summary::insert_bytes;
use super::table::Table;
use crate::fleet::ledger::{self, Run};
use crate::fleet::{recall, runs};
use crate::protocol::{JobRecord, JobStatus};

/// List the runs this machine remembers
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw fleet runs\n\nThe newest 200 are kept.\n\nExit codes: 0 listed, 1 the local queue cannot be read."
)]
pub struct ListArgs {
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Show what came of a run
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw fleet show last --on web1\n\nExit codes: 0 shown, 1 the local queue cannot be read, 2 there is no such run."
)]
pub struct ShowArgs {
    /// The run: its id, the beginning of it, or `last`
    #[arg(value_name = "RUN", default_value = "last")]
    pub run: String,
    /// Print the kept output of this host
    #[arg(long, value_name = "NAME")]
    pub on: Option<String>,
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Runs `fleet runs`.
///
/// # Errors
/// When the local queue cannot be read.
pub async fn list(_args: &ListArgs, output: &Output) -> anyhow::Result<Exit> {
    let mut table = Table::new(["RUN", "STARTED", "KIND", "OK", "FAILED", "OPEN", "WHAT"]);
    let mut rows = Vec::new();
    for run in ledger::list().await.map_err(silent)? {
        let is_abandoned = run.is_abandoned();
        let run = run.record;
        let counts = run.counts;
        // What was running when its controller was killed will be lost as soon as its lease ends.
        let (failed, open, abandoned) = match is_abandoned {
            true => (counts.failed + counts.leased, 0, counts.queued),
            false => (counts.failed, counts.queued + counts.leased, 0),
        };
        table.row([
            run.id.to_string(),
            run.created_at.to_string(),
            run.kind.clone(),
            run.counts.completed.to_string(),
            failed.to_string(),
            match abandoned {
                0 => open.to_string(),
                _ => format!("{abandoned} abandoned"),
            },
            run.title.clone(),
        ]);
        let row = json!({
            "run": run.id.to_string(), "startedAt": run.created_at, "kind": run.kind, "title": run.title,
            "ok": run.counts.completed, "failed": failed, "open": open,
            "abandoned": abandoned,
        });
        output.event("run", &row)?;
        rows.push(row);
    }
    output.table(&table);
    output.document(&json!({ "runs": rows }))?;
    Ok(Exit::Success)
}

/// Runs `fleet show`.
///
/// # Errors
/// When there is no such run or the local queue cannot be read.
pub async fn show(args: &ShowArgs, output: &Output) -> anyhow::Result<Exit> {
    let run = find(&args.run).await?;
    let is_abandoned = run.is_abandoned();
    let jobs = run.jobs().await?;
    let names = run.host_names().await?;
    let host_of = |job: &JobRecord| {
        ledger::host_of(job, &names).map_or_else(|| "-".to_owned(), |name| name.to_string())
    };
    let run = run.record;
    let wanted: Vec<&JobRecord> = jobs
        .iter()
        .filter(|job| args.on.as_deref().is_none_or(|name| host_of(job) == name))
        .collect();
    if let Some(name) = args.on.as_deref().filter(|_| wanted.is_empty()) {
        return Err(Failure::usage(format!("host `{name}` had no part in run {}", run.id)).into());
    }
    if args.on.is_some() && output.format() == Format::Human {
        for result in wanted.iter().filter_map(|job| job.result.as_ref()) {
            output.bytes(&result.stdout.bytes);
            output.error_bytes(&result.stderr.bytes);
            if result.stdout.truncated || result.stderr.truncated {
                output.note(&format!(
                    "this is only the ends of it; all that was kept: {}",
                    runs::directory(run.id)?.display()
                ));
            }
        }
        return Ok(Exit::Success);
    }
    let mut table = Table::new(["HOST", "STATUS", "EXIT", "SECONDS", "BYTES", "DETAILS"]);
    let mut rows = Vec::new();
    for job in &wanted {
        let result = job.result.as_ref();
        let (status, error) = status_of(job, is_abandoned);
        table.row([
            host_of(job),
            status.clone(),
            result
                .and_then(|result| result.exit_code)
                .map(|code| code.to_string())
                .unwrap_or_default(),
            result
                .map(|result| format!("{:.1}", result.duration_ms as f64 / 1000.0))
                .unwrap_or_default(),
            result
                .map(|result| (result.stdout.total + result.stderr.total).to_string())
                .unwrap_or_default(),
            error.clone().unwrap_or_default(),
        ]);
        let row = row_json(job, &host_of(job), &status, error);
        output.event("result", &row)?;
        rows.push(row);
    }
    output.line(&format!(
        "run {} ({}) started {}: {}",
        run.id, run.kind, run.created_at, run.title
    ));
    output.table(&table);
    let meta: Value = serde_json::from_str(run.meta.as_str()).unwrap_or_default();
    output.document(&json!({
        "run": run.id.to_string(), "kind": run.kind, "title": run.title,
        "startedAt": run.created_at, "meta": meta, "results": rows,
    }))?;
    Ok(Exit::Success)
}

/// Finds a run by what the user calls it.
///
/// # Errors
/// When there is none, or several, or the records cannot be read.
pub async fn find(word: &str) -> anyhow::Result<Run> {
    ledger::find(word).await.map_err(|error| match error {
        ledger::Error::Own(
            error @ (runs::Error::NoSuchRun(_) | runs::Error::NoRuns | runs::Error::Ambiguous(_)),
        ) => anyhow::Error::from(Failure::usage(error.to_string())),
        ledger::Error::Silent { .. } => silent(error),
        ledger::Error::Own(_)
        | ledger::Error::Place(_)
        | ledger::Error::Stopped(_)
        | ledger::Error::Running(_) => error.into(),
    })
}

fn silent(error: ledger::Error) -> anyhow::Error {
    if !matches!(error, ledger::Error::Silent { .. }) {
        return error.into();
    }
    Failure::new(Exit::Failed, error.to_string())
        .hint("try again in a moment; `skyclaw fleet down --now` ends it")
        .into()
}

/// The word the run gave it, and why; a job without a word is waiting, running, or was cut off.
fn status_of(job: &JobRecord, is_abandoned: bool) -> (String, Option<String>) {
    if let Some(verdict) = recall::verdict(job) {
        return (verdict.status.as_str().to_owned(), verdict.error);
    }
    let (word, why) = match job.status {
        JobStatus::Queued if is_abandoned => (
            "abandoned",
            Some("never started: skyclaw was killed before its turn came"),
        ),
        JobStatus::Leased if is_abandoned => ("lost", Some("skyclaw was killed while it ran")),
        JobStatus::Queued => ("waiting", None),
        JobStatus::Leased => ("running", None),
        JobStatus::Completed | JobStatus::Failed => (job.status.as_str(), None),
    };
    (word.to_owned(), why.map(str::to_owned))
}

fn row_json(job: &JobRecord, host: &str, status: &str, error: Option<String>) -> Value {
    let tried = job.started_at.is_some();
    let mut row = json!({
        "host": host, "status": status, "job": job.id.to_string(),
        "attempt": tried.then_some(job.attempts), "startedAt": job.started_at,
        "error": error,
    });
    if let (Some(map), Some(result)) = (row.as_object_mut(), &job.result) {
        map.insert("exit".into(), json!(result.exit_code));
        map.insert("durationMs".into(), json!(result.duration_ms));
        for (name, kept) in [("stdout", &result.stdout), ("stderr", &result.stderr)] {
            map.insert(format!("{name}Bytes"), json!(kept.total));
            map.insert(format!("{name}Truncated"), json!(kept.truncated));
            insert_bytes(map, name, &kept.bytes);
        }
    }
    row
}
