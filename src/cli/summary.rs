//! The end of a run: summary, JSON document, files, gathered outputs, exit code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::document::{self, Document};
use super::exit::Exit;
use super::output::{Format, Output};
use super::perform::Outcome;
use super::sanitize;
use super::show::Show;
use crate::fleet::agent::picoclaw::answer_only;
use crate::fleet::file::Host;
use crate::fleet::report::{Kept, Status, TaskReport};
use crate::fleet::select::fold_names;
use crate::protocol::GroupId;
use crate::support::paths::write_private;
use crate::support::shutdown::Cause;
use crate::support::span;

/// What a summary says besides the reports.
#[derive(Debug)]
pub struct Context<'a> {
    /// The run.
    pub run: GroupId,
    /// What made it.
    pub kind: &'static str,
    /// Its hosts.
    pub hosts: &'a [Arc<Host>],
    /// How long it took.
    pub took: Duration,
    /// What it comes to.
    pub exit: Exit,
    /// Whether answers are shown without the agent's logo and log lines.
    pub strip: bool,
}

/// Returns the exit code of a run.
pub fn exit(outcome: &Outcome) -> Exit {
    let stopped = match outcome.cause {
        Some(Cause::Interrupt) => Some(Exit::Interrupted),
        Some(Cause::Terminate) => Some(Exit::Terminated),
        None => None,
    };
    let alone = outcome.reports.len() == 1 && outcome.down.is_empty();
    let of_report = |report: &TaskReport| match report.status {
        Status::Ok => Exit::Success,
        Status::Failed => match report.exit.and_then(|code| u8::try_from(code).ok()) {
            Some(code) if alone && code != 0 => Exit::Remote(code),
            Some(_) | None => Exit::Failed,
        },
        Status::Timeout => Exit::TimedOut,
        Status::Missing => Exit::NotInstalled,
        Status::Unreachable | Status::Auth | Status::HostKey if alone => Exit::Ssh,
        Status::Unreachable | Status::Auth | Status::HostKey => Exit::Unreachable,
        Status::Lost if alone => Exit::Ssh,
        // Nobody knows how it ended, so nobody may call it a success.
        Status::Lost => Exit::Failed,
        Status::Cancelled | Status::Skipped => Exit::Failed,
    };
    if let Some(stopped) = stopped {
        return stopped;
    }
    // What the deadline kept from starting is part of the timeout, not a failure of its own.
    let by_deadline = outcome
        .reports
        .iter()
        .any(|report| report.status == Status::Timeout);
    let reports = outcome.reports.iter().map(|report| match report.status {
        Status::Skipped
            if by_deadline
                || report
                    .error
                    .as_deref()
                    .is_some_and(|why| why.contains("deadline")) =>
        {
            Exit::TimedOut
        }
        // No host was left: what the hosts came to says why.
        Status::Skipped if !outcome.down.is_empty() => Exit::Unreachable,
        _ => of_report(report),
    });
    let down = outcome.down.iter().map(|(_, status, _, _)| match status {
        Status::Unreachable | Status::Auth | Status::HostKey => Exit::Unreachable,
        Status::Missing => Exit::NotInstalled,
        Status::Ok
        | Status::Failed
        | Status::Timeout
        | Status::Lost
        | Status::Cancelled
        | Status::Skipped => Exit::Failed,
    });
    Exit::fold(reports.chain(down))
}

/// Prints what the run came to.
///
/// # Errors
/// When a result cannot be read back or printed.
pub fn print(
    outcome: &Outcome,
    context: &Context<'_>,
    several: bool,
    output: &Output,
) -> anyhow::Result<()> {
    let counts = counts(outcome);
    let body = json!({
        "run": context.run.to_string(),
        "kind": context.kind,
        "summary": counts,
        "durationMs": millis(context.took),
        "exit": context.exit.code(),
    });
    match output.format() {
        Format::Human => print_human(outcome, context, several, output),
        Format::Ndjson => output.event("summary", &body)?,
        Format::Json => {
            let mut body = body;
            let down: Vec<Value> = outcome
                .down
                .iter()
                .map(|(name, status, why, hint)| json!({ "host": name, "status": status, "error": why, "hint": hint }))
                .collect();
            if let Some(map) = body.as_object_mut() {
                map.insert(document::RESULTS.into(), Value::Null);
                if !down.is_empty() {
                    map.insert("hostsDown".into(), down.into());
                }
            }
            output.document(&Document {
                body: body.as_object().unwrap_or(&Map::new()),
                reports: &outcome.reports,
                strip: context.strip,
            })?;
        }
    }
    Ok(())
}

fn print_human(outcome: &Outcome, context: &Context<'_>, several: bool, output: &Output) {
    for report in &outcome.reports {
        let name = report.host.as_ref().map_or("-", |name| name.as_str());
        if report.status != Status::Ok
            && (several || report.error.is_some() || report.status != Status::Failed)
        {
            let mut text = format!("{name}: {}", report.status.as_str());
            if let Some(exit) = report.exit.filter(|_| report.status == Status::Failed) {
                text.push_str(&format!(" (exit {exit})"));
            }
            if report.status == Status::Timeout {
                text.push_str(&format!(" after {}", span::human(report.took)));
            }
            if let Some(error) = &report.error {
                text.push_str(&format!(": {error}"));
            }
            if let Some(hint) = &report.hint {
                text.push_str(&format!("; {hint}"));
            }
            output.note(&text);
        }
        for (stream, kept) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
            if kept.cut {
                output.note(&format!(
                    "{name}: {stream} was cut: {} bytes came, --max-output was kept",
                    kept.total
                ));
            }
        }
        if report.pipe_held {
            output.note(&format!(
                "{name}: pipe held: what the task left running in the background was ended"
            ));
        }
        if report.unseen > 0 {
            output.note(&format!("{name}: {} bytes of output were too fast to show; `skyclaw fleet show {}` has them", report.unseen, context.run));
        }
    }
    for (name, status, why, hint) in &outcome.down {
        let hint = hint
            .as_ref()
            .map(|hint| format!("; {hint}"))
            .unwrap_or_default();
        output.note(&format!("{name}: {}: {why}{hint}", status.as_str()));
    }
    let clean = outcome
        .reports
        .iter()
        .all(|report| report.status == Status::Ok);
    if several || !clean {
        let counts: Vec<String> = Status::ALL
            .into_iter()
            .filter_map(|status| {
                let count = outcome
                    .reports
                    .iter()
                    .filter(|report| report.status == status)
                    .count()
                    + outcome
                        .down
                        .iter()
                        .filter(|(_, down, _, _)| *down == status)
                        .count();
                (count > 0).then(|| format!("{count} {}", status.as_str()))
            })
            .collect();
        let took = span::human(context.took);
        let retry = match clean {
            true => String::new(),
            false => format!("; retry: skyclaw fleet {} --retry last", context.kind),
        };
        output.note(&format!(
            "{} in {took} (run {}; details: skyclaw fleet show last{retry})",
            counts.join(", "),
            context.run
        ));
    }
}

fn counts(outcome: &Outcome) -> Value {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for report in &outcome.reports {
        *counts.entry(report.status.as_str()).or_default() += 1;
    }
    json!(counts)
}

/// Returns a report as JSON.
pub fn report_json(report: &TaskReport, with_output: bool, strip: bool) -> Value {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            map.insert(key.to_owned(), value);
        }
    };
    put(
        "host",
        json!(report.host.as_ref().map(|name| name.as_str())),
    );
    put("task", json!(report.task));
    put("job", json!(report.job.to_string()));
    put("attempt", json!(report.attempt));
    put("status", json!(report.status));
    put("exit", json!(report.exit));
    put("signal", json!(report.signal));
    put("error", json!(report.error));
    put("hint", json!(report.hint));
    put("startedAt", json!(report.started_at));
    put("durationMs", json!(millis(report.took)));
    if report.pipe_held {
        put("pipeHeld", json!(true));
    }
    for (name, kept) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
        map.insert(format!("{name}Bytes"), json!(kept.total));
        map.insert(format!("{name}Truncated"), json!(kept.cut));
        if with_output {
            insert_owned(&mut map, name, whole(kept));
        }
    }
    if strip && with_output {
        insert_owned(&mut map, "answer", answer_only(&whole(&report.stdout)));
    }
    Value::Object(map)
}

/// Adds bytes to a JSON object: as text if they are text, else in base64 under `<name>_b64`.
pub fn insert_bytes(map: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    insert_owned(map, name, bytes.to_vec());
}

fn insert_owned(map: &mut Map<String, Value>, name: &str, bytes: Vec<u8>) {
    match String::from_utf8(bytes) {
        Ok(text) => map.insert(name.to_owned(), text.into()),
        Err(error) => map.insert(
            format!("{name}_b64"),
            BASE64.encode(error.as_bytes()).into(),
        ),
    };
}

fn whole(kept: &Kept) -> Vec<u8> {
    kept.read().unwrap_or_else(|error| {
        tracing::error!(%error, "cannot read output back");
        Vec::new()
    })
}

/// Prints the whole output of one task.
pub fn print_whole(report: &TaskReport, show: &Show, output: &Output) {
    if show.several {
        let name = report.host.as_ref().map_or("-", |name| name.as_str());
        let task = if show.tasks.iter().any(|task| *task > 0) {
            format!(" task {}", report.task + 1)
        } else {
            String::new()
        };
        let took = span::human(report.took);
        output.line(&format!(
            "--- {name}{task}: {} in {took} ---",
            report.status.as_str()
        ));
    }
    let stdout = whole(&report.stdout);
    let stdout = if show.strip {
        answer_only(&stdout)
    } else {
        stdout
    };
    let streams = output.streams();
    output.bytes(&shown(
        &stdout,
        streams.out_width.is_some() && !show.raw,
        show.several,
    ));
    output.error_bytes(&shown(
        &whole(&report.stderr),
        streams.err_terminal && !show.raw,
        show.several,
    ));
}

fn shown(bytes: &[u8], filtered: bool, whole_lines: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if filtered {
        let mut filter = sanitize::Filter::new();
        filter.push(bytes, &mut out);
        filter.finish(&mut out);
    } else {
        out.extend_from_slice(bytes);
    }
    if whole_lines && !out.is_empty() && !out.ends_with(b"\n") {
        out.push(b'\n');
    }
    out
}

/// What makes two outputs equal: how the task came out, stdout and stderr.
type Look = (Status, Option<i32>, Vec<u8>, Vec<u8>);

/// Prints equal outputs once, under the names of their hosts.
pub fn gather(outcome: &Outcome, similar: bool, context: &Context<'_>, output: &Output) {
    if output.format() != Format::Human {
        return;
    }
    // In order of first appearance; equal means equal in both streams and in how it came out.
    let mut seen: Vec<(Look, Vec<String>)> = Vec::new();
    for report in &outcome.reports {
        let Some(name) = &report.host else { continue };
        let address = context
            .hosts
            .iter()
            .find(|host| host.name == *name)
            .map(|host| host.host.as_str());
        let same = |bytes: Vec<u8>| {
            if similar {
                without_names(&bytes, name.as_str(), address)
            } else {
                bytes
            }
        };
        let stdout = whole(&report.stdout);
        let stdout = if context.strip {
            answer_only(&stdout)
        } else {
            stdout
        };
        let key = (
            report.status,
            report.exit,
            same(stdout),
            same(whole(&report.stderr)),
        );
        match seen.iter_mut().find(|(known, _)| *known == key) {
            Some((_, names)) => names.push(name.to_string()),
            None => seen.push((key, vec![name.to_string()])),
        }
    }
    for ((status, _, stdout, stderr), names) in seen {
        output.line(&format!(
            "--- {} ({}): {} ---",
            fold_names(&names),
            names.len(),
            status.as_str()
        ));
        let streams = output.streams();
        output.bytes(&shown(&stdout, streams.out_width.is_some(), true));
        output.error_bytes(&shown(&stderr, streams.err_terminal, true));
    }
}

fn without_names(bytes: &[u8], name: &str, address: Option<&str>) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return bytes.to_vec();
    };
    let mut text = text.replace(name, "{name}");
    if let Some(address) = address {
        text = text.replace(address, "{host}");
    }
    text.into_bytes()
}

/// Writes the files of `--output-dir`.
///
/// # Errors
/// When one cannot be written.
pub fn write_files(dir: &Path, outcome: &Outcome, context: &Context<'_>) -> anyhow::Result<()> {
    let several_tasks = outcome.reports.iter().any(|report| report.task > 0);
    // `summary.json` is ours; names that would end up as one file get a number.
    let mut taken = BTreeSet::from(["summary".to_owned()]);
    for report in &outcome.reports {
        let name = report
            .host
            .as_ref()
            .map_or("unassigned", |name| name.as_str());
        // Host names are words of [A-Za-z0-9._-], but `..` is one too.
        let safe = match name.trim_start_matches('.') {
            "" => "_",
            safe => safe,
        };
        let wanted = if several_tasks {
            format!("{safe}-{}", report.task + 1)
        } else {
            safe.to_owned()
        };
        let stem = std::iter::once(wanted.clone())
            .chain((2..).map(|number| format!("{wanted}_{number}")))
            .find(|stem| !taken.contains(stem))
            .unwrap_or(wanted);
        taken.insert(stem.clone());
        let write = |ending: &str, bytes: &[u8]| {
            let path = dir.join(format!("{stem}.{ending}"));
            // Written beside and renamed: a link that stands there is replaced, not followed.
            write_private(&path, bytes).with_context(|| format!("write {}", path.display()))
        };
        write("out", &whole(&report.stdout))?;
        write("err", &whole(&report.stderr))?;
        write(
            "json",
            &serde_json::to_vec_pretty(&report_json(report, false, false))?,
        )?;
    }
    let path = dir.join("summary.json");
    let body = json!({
        "schema": 1,
        "run": context.run.to_string(),
        "kind": context.kind,
        "summary": counts(outcome),
        "durationMs": millis(context.took),
        "exit": context.exit.code(),
    });
    write_private(&path, &serde_json::to_vec_pretty(&body)?)
        .with_context(|| format!("write {}", path.display()))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
