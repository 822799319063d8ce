//! `skyclaw events`: what happens at a coordinator, while it happens.

use serde_json::{Value, json};

use super::coordinators::CoordinatorArgs;
use super::exit::Exit;
use super::job::unless_stopped;
use super::output::{Format, Output};
use crate::client::JobEvent;

/// Show what happens at a coordinator, while it happens
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw events --ndjson\n\nExit codes: 0 as many events as asked for were shown, or nobody reads on, 1 the coordinator refused, 2 usage or configuration error, 69 no coordinator could be reached, 130/143 stopped by a signal."
)]
pub struct Args {
    /// Begin after the event with this id, as --ndjson shows it [default: with what happens next]
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    /// End after so many events
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
    /// Print one JSON event per line
    #[arg(long)]
    pub ndjson: bool,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

impl Args {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        if self.ndjson {
            Format::Ndjson
        } else {
            Format::Human
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// When the coordinator cannot be asked.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let client = args.coordinator.client()?;
    let work = async {
        let mut stream = client.events(args.after.clone()).await?;
        let mut left = args.count;
        while left != Some(0) && !output.is_closed() {
            show(&stream.next().await?, output)?;
            left = left.map(|left| left - 1);
        }
        Ok(Exit::Success)
    };
    unless_stopped(work, || None, output).await
}

fn show(event: &JobEvent, output: &Output) -> anyhow::Result<()> {
    let mut body = serde_json::to_value(&event.event)?;
    let Some(map) = body.as_object_mut() else {
        return Ok(());
    };
    let name = match map.remove("type") {
        Some(Value::String(name)) => name,
        Some(_) | None => String::new(),
    };
    if let Some(id) = &event.id {
        map.insert("id".into(), json!(id));
    }
    output.event(&name, &body)?;
    output.line(&line(&name, &body));
    Ok(())
}

/// `2026-01-01T00:00:00.000Z job-ended job_… status=failed reason=exit`
fn line(name: &str, body: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut parts = vec![
        body.get("at").map(text).unwrap_or_default(),
        name.to_owned(),
    ];
    if let Some(map) = body.as_object() {
        let rest = map
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "at" | "id"));
        parts.extend(rest.map(|(key, value)| match key.as_str() {
            "jobId" | "hostId" => text(value),
            key => format!("{key}={}", text(value)),
        }));
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let body =
            json!({"at": "T", "jobId": "job_1", "status": "failed", "reason": "exit", "id": "9"});
        assert_eq!(
            line("job-ended", &body),
            "T job-ended job_1 reason=exit status=failed"
        );
    }
}
