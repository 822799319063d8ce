//! `skyclaw job show`: everything about one job.

use serde_json::json;

use super::{OneJob, words};
use crate::cli::args::JsonArgs;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::cli::table::Table;
use crate::protocol::api::JobAttempts;
use crate::protocol::{AttemptEnd, AttemptRecord, JobRecord};
use crate::support::span;

/// Show everything about a job but its output
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw job show job_0192f0c0-7c1e-7a3b-9d2e-0123456789ab\n\nExit codes: 0 shown, 1 there is no such job, 2 usage or configuration error, 69 no coordinator could be reached."
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
    let client = args.job.coordinator.client()?;
    let job = client.job(args.job.id).await?;
    let tries = client.attempts(args.job.id).await?;
    for (name, value) in facts(&job) {
        output.fact(name, &value);
    }
    if !tries.attempts.is_empty() {
        output.line("");
        output.table(&attempts(&tries));
    }
    if !tries.strays.is_empty() {
        output.line(&format!(
            "{} late reports of holders that had lost their lease were put aside",
            tries.strays.len()
        ));
    }
    output.document(&json!({ "job": job, "attempts": tries.attempts, "strays": tries.strays }))?;
    Ok(Exit::Success)
}

fn facts(job: &JobRecord) -> Vec<(&'static str, String)> {
    let wanted = &job.requirement;
    let labels: Vec<String> = wanted
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let optional = [
        ("exit", Some(words::exit(job))),
        ("error", job.error.clone()),
        ("used", job.usage.as_ref().map(ToString::to_string)),
        ("needs", Some(wanted.required_capabilities.join(", "))),
        ("labels", Some(labels.join(", "))),
        ("hosts", Some(wanted.hosts.join(", "))),
        (
            "priority",
            Some(job.priority.to_string()).filter(|text| text != "0"),
        ),
        ("group", job.group.map(|group| group.to_string())),
        ("asked by", job.submitted_by.clone()),
        (
            "runs on",
            job.assigned_host_id.as_ref().map(ToString::to_string),
        ),
        ("lease until", job.lease_expires_at.map(|at| at.to_string())),
        ("start by", job.start_by.map(|at| at.to_string())),
        ("not before", job.not_before.map(|at| at.to_string())),
        (
            "limit",
            job.timeout_ms
                .map(|millis| span::human(std::time::Duration::from_millis(millis))),
        ),
        (
            "cancelled",
            job.cancel.as_ref().map(|cancel| match &cancel.reason {
                Some(reason) => format!("{} ({reason})", cancel.asked_at),
                None => cancel.asked_at.to_string(),
            }),
        ),
        ("ended", job.ended_at.map(|at| at.to_string())),
    ];
    let always = [
        ("job", job.id.to_string()),
        ("status", words::standing(job)),
        ("what", words::what(&job.payload)),
        ("submitted", job.created_at.to_string()),
        ("tries", job.attempts.to_string()),
    ];
    let given = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)));
    always.into_iter().chain(given).collect()
}

fn attempts(tries: &JobAttempts) -> Table {
    let mut table = Table::new(["TRY", "HOST", "STARTED", "ENDED", "HOW", "EXIT", "DETAILS"]);
    for one in &tries.attempts {
        let result = one.result.as_ref();
        table.row([
            one.attempt.to_string(),
            one.host.to_string(),
            one.started_at.to_string(),
            one.ended_at.map(|at| at.to_string()).unwrap_or_default(),
            ending(one),
            result
                .and_then(|result| result.exit_code)
                .map(|code| code.to_string())
                .unwrap_or_default(),
            result
                .and_then(|result| result.error.clone())
                .unwrap_or_default(),
        ]);
    }
    table
}

fn ending(one: &AttemptRecord) -> String {
    let word = match one.end {
        Some(AttemptEnd::Succeeded) => "succeeded",
        Some(AttemptEnd::Failed) => "failed",
        Some(AttemptEnd::Lost) => "lost",
        Some(AttemptEnd::Released) => "given back",
        None => "running",
    };
    match one.reason {
        Some(reason) => format!("{word}/{}", reason.as_str()),
        None => word.to_owned(),
    }
}
