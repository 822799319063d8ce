//! `skyclaw fleet runs` and `skyclaw fleet show`: what was run, and what came of it.

use serde_json::{Value, json};

use super::args::FormatArgs;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Format, Output};
use super::summary::insert_bytes;
use super::table::Table;
use crate::fleet::runs;
use crate::protocol::JobStatus;
use crate::queue::store::JobView;

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
    let queue = runs::open_queue()?;
    let mut table = Table::new(["RUN", "STARTED", "KIND", "OK", "FAILED", "OPEN", "WHAT"]);
    let mut rows = Vec::new();
    for run in runs::list(&queue).await? {
        let is_abandoned = runs::is_abandoned(&run);
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
    let queue = runs::open_queue()?;
    let run = runs::find(&queue, &args.run)
        .await
        .map_err(|error| match error {
            runs::Error::NoSuchRun(_) | runs::Error::Ambiguous(_) => {
                anyhow::Error::from(Failure::usage(error.to_string()))
            }
            runs::Error::Place(_) | runs::Error::Queue(_) => error.into(),
        })?;
    let is_abandoned = runs::is_abandoned(&run);
    let jobs = runs::jobs(&queue, run.id).await?;
    let wanted: Vec<&JobView> = jobs
        .iter()
        .filter(|view| args.on.as_deref().is_none_or(|name| host_of(view) == name))
        .collect();
    if let Some(name) = args.on.as_deref().filter(|_| wanted.is_empty()) {
        return Err(Failure::usage(format!("host `{name}` had no part in run {}", run.id)).into());
    }
    if args.on.is_some() && output.format() == Format::Human {
        for result in wanted
            .iter()
            .filter_map(|view| view.last.as_ref()?.result.as_ref())
        {
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
    for view in &wanted {
        let result = view.last.as_ref().and_then(|last| last.result.as_ref());
        let (status, why) = status_of(view, is_abandoned);
        let error = result
            .and_then(|result| result.error.clone())
            .or_else(|| view.job.error.clone())
            .or_else(|| why.map(str::to_owned));
        table.row([
            host_of(view),
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
        let row = row_json(view, &status, error);
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

fn host_of(view: &JobView) -> String {
    let pinned = || view.job.requirement.hosts.first().cloned();
    view.last
        .as_ref()
        .map(|last| last.host.to_string())
        .or_else(pinned)
        .unwrap_or_else(|| "-".into())
}

/// The word the run gave it, and why where the run could not say; a job without a word is waiting,
/// running, or was cut off.
fn status_of(view: &JobView, is_abandoned: bool) -> (String, Option<&'static str>) {
    let detail = view
        .last
        .as_ref()
        .and_then(|last| last.result.as_ref()?.detail.clone());
    if let Some(word) = detail {
        return (word, None);
    }
    let (word, why) = match (view.job.status, view.job.reason) {
        (JobStatus::Queued, _) if is_abandoned => (
            "abandoned",
            Some("never started: skyclaw was killed before its turn came"),
        ),
        (JobStatus::Leased, _) if is_abandoned => ("lost", Some("skyclaw was killed while it ran")),
        (JobStatus::Queued, _) => ("waiting", None),
        (JobStatus::Leased, _) => ("running", None),
        (JobStatus::Completed, _) => ("ok", None),
        (JobStatus::Failed, Some(reason)) => (reason.as_str(), None),
        (JobStatus::Failed, None) => ("failed", None),
    };
    (word.to_owned(), why)
}

fn row_json(view: &JobView, status: &str, error: Option<String>) -> Value {
    let mut row = json!({
        "host": host_of(view), "status": status, "job": view.job.id.to_string(),
        "attempt": view.last.as_ref().map(|last| last.attempt),
        "startedAt": view.last.as_ref().map(|last| last.started_at),
        "error": error,
    });
    if let (Some(map), Some(result)) = (
        row.as_object_mut(),
        view.last.as_ref().and_then(|last| last.result.as_ref()),
    ) {
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
