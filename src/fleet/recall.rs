//! What came of a job, read from its record, in the words of a run's report.
//!
//! A push worker writes the word into the result; a daemon says why the job failed. Both come to the
//! same words as a run that was watched.

use std::time::Duration;

use crate::fleet::file::HostName;
use crate::fleet::report::{Kept, Status, TaskReport, Verdict, signal_name};
use crate::protocol::api::JobKind;
use crate::protocol::{JobRecord, JobResult, JobStatus, Reason};

/// What a daemon calls output that was held open by what the task left behind.
const PIPE_HELD: &str = "pipe held";
/// The exit code of shells for a program that is not there.
const NOT_FOUND: i32 = 127;

/// Returns how a job came out, or nothing while it may still change.
pub fn verdict(job: &JobRecord) -> Option<Verdict> {
    if !job.status.is_final() {
        return None;
    }
    let result = job.result.as_ref();
    let told = result
        .and_then(|result| result.detail.as_deref())
        .and_then(Status::from_word);
    let base = match told {
        // What limit, and who asked, the job itself says.
        Some(Status::Timeout) => Verdict::plain(Status::Timeout),
        Some(Status::Cancelled) => cancelled(job, result),
        Some(status) => Verdict {
            error: result.and_then(|result| result.error.clone()),
            ..Verdict::plain(status)
        },
        None => by_reason(job, result),
    };
    let base = with_hint(job, base);
    let signal = result.and_then(|result| result.signal);
    let exit = base
        .exit
        .or_else(|| result.and_then(|result| result.exit_code))
        .or_else(|| signal.map(|number| 128 + number));
    Some(Verdict {
        exit,
        signal: signal
            .map(|number| signal_name(number).map_or_else(|| number.to_string(), str::to_owned)),
        ..base
    })
}

fn by_reason(job: &JobRecord, result: Option<&JobResult>) -> Verdict {
    let said = || result.and_then(|result| result.error.clone());
    let failed = |error: Option<String>| Verdict {
        error,
        ..Verdict::plain(Status::Failed)
    };
    if job.status == JobStatus::Completed {
        return Verdict::plain(Status::Ok);
    }
    match job.reason {
        None => failed(said()),
        Some(Reason::Exit) => match result.and_then(|result| result.signal) {
            Some(number) => {
                let name = signal_name(number).map_or_else(|| number.to_string(), str::to_owned);
                failed(Some(format!("killed by signal {name}")))
            }
            None => failed(
                result
                    .filter(|result| result.exit_code.is_none())
                    .and(said()),
            ),
        },
        Some(Reason::Timeout) => Verdict::plain(Status::Timeout),
        Some(Reason::Cancelled) => cancelled(job, result),
        Some(Reason::Deadline) => Verdict::because(Status::Skipped, DEADLINE),
        Some(Reason::NotAllowed) => failed(said()),
        Some(Reason::Lost | Reason::Dead) => Verdict {
            error: said().or_else(|| Some("its host was gone while it ran".to_owned())),
            ..Verdict::plain(Status::Lost)
        },
        Some(Reason::Spawn) => {
            let error = said().unwrap_or_else(|| "it could not be started".to_owned());
            let is_missing = error.ends_with("ENOENT");
            // In the words of a push worker.
            let error = match error.strip_prefix("directory does not exist: ") {
                Some(directory) => format!("{NO_DIRECTORY}{directory}"),
                None => error,
            };
            match is_missing && is_agent(job) {
                true => Verdict::because(Status::Missing, error),
                false => Verdict {
                    exit: is_missing.then_some(NOT_FOUND),
                    ..Verdict::because(Status::Failed, error)
                },
            }
        }
    }
}

/// Adds what the user can do, which no record has a place for.
fn with_hint(job: &JobRecord, verdict: Verdict) -> Verdict {
    let no_directory = |error: &String| error.starts_with(NO_DIRECTORY);
    let hint = match verdict.status {
        Status::Missing => hint(job),
        Status::Failed if verdict.error.as_ref().is_some_and(no_directory) => {
            Some(DIRECTORY.to_owned())
        }
        Status::Ok
        | Status::Failed
        | Status::Timeout
        | Status::Unreachable
        | Status::Auth
        | Status::HostKey
        | Status::Lost
        | Status::Cancelled
        | Status::Skipped => None,
    };
    Verdict { hint, ..verdict }
}

/// A run says with a cancel what it means for a task that has not started: `unreachable: no such host`.
fn cancelled(job: &JobRecord, result: Option<&JobResult>) -> Verdict {
    let reason = job
        .cancel
        .as_ref()
        .and_then(|cancel| cancel.reason.as_deref());
    let told = reason
        .and_then(|reason| reason.split_once(": "))
        .and_then(|(word, text)| Some((Status::from_word(word)?, text)));
    let started = job.started_at.is_some();
    match (told, reason) {
        (Some((Status::Skipped, _)), _) if started => Verdict::plain(Status::Timeout),
        (Some((status, text)), _) if !started => Verdict::because(status, text),
        (None, None) if !started => Verdict::because(Status::Cancelled, NOT_STARTED),
        (None, Some(reason)) => Verdict::because(Status::Cancelled, reason),
        (Some(_), _) | (None, None) => match result {
            Some(_) => Verdict::plain(Status::Cancelled),
            None => Verdict::because(Status::Cancelled, UNCONFIRMED),
        },
    }
}

/// Why nobody knows how a task that was stopped ended.
pub const UNCONFIRMED: &str = "its host has not said whether it ended";
/// Why a task that was stopped has nothing to show.
pub const NOT_STARTED: &str = "stopped before it started";
/// Why a task was skipped when the run's time was over.
pub const DEADLINE: &str = "the run's deadline came first";

fn is_agent(job: &JobRecord) -> bool {
    match serde_json::from_str(job.payload.as_str()) {
        Ok(JobKind::Shell { agent, .. }) => agent.is_some(),
        Ok(
            JobKind::OpenclawRun { .. }
            | JobKind::AutomatonRun { .. }
            | JobKind::PicoclawTask { .. },
        ) => true,
        Err(_) => false,
    }
}

/// How the error of a task begins whose directory is not there.
pub const NO_DIRECTORY: &str = "cannot enter directory ";
/// What to do about that.
pub const DIRECTORY: &str = "check --cwd or `workdir` in the fleet file";
/// What to do where PicoClaw is not installed.
pub const INSTALL: &str = "run `skyclaw fleet deploy`, or dispatch with --deploy-missing";

/// Returns what to do about an agent that is not installed.
fn hint(job: &JobRecord) -> Option<String> {
    let kind = serde_json::from_str(job.payload.as_str()).ok()?;
    Some(match kind {
        JobKind::PicoclawTask { .. } => INSTALL.to_owned(),
        JobKind::Shell { .. } | JobKind::OpenclawRun { .. } | JobKind::AutomatonRun { .. } => {
            "install it on the host, or choose another --agent".to_owned()
        }
    })
}

/// Returns the report of a job that came out so. The output is given, because a record holds only its ends.
pub fn report(
    job: &JobRecord,
    host: Option<HostName>,
    task: usize,
    verdict: Verdict,
    output: (Kept, Kept),
) -> TaskReport {
    let result = job.result.as_ref();
    TaskReport {
        host,
        task,
        job: job.id,
        attempt: u32::from(job.attempts.get()).max(1),
        status: verdict.status,
        exit: verdict.exit,
        signal: verdict.signal,
        error: verdict.error,
        hint: verdict.hint,
        started_at: job.started_at.unwrap_or(job.updated_at),
        took: Duration::from_millis(result.map_or(0, |result| result.duration_ms)),
        stdout: output.0,
        stderr: output.1,
        pipe_held: result.is_some_and(|result| result.detail.as_deref() == Some(PIPE_HELD)),
        unseen: 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(more: Value) -> JobRecord {
        let mut record = json!({
            "id": crate::protocol::JobId::fresh(), "status": "failed", "attempts": 1, "priority": 0,
            "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
            "requirement": {"requiredCapabilities": []},
            "payload": {"kind": "picoclaw-task", "message": "x"},
        });
        let Value::Object(more) = more else { panic!() };
        record.as_object_mut().unwrap().extend(more);
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn a_daemons_reasons_become_the_words_of_a_run() {
        let shell = json!({"kind": "shell", "command": "gone"});
        let cases = [
            (
                json!({"status": "completed", "result": {"exitCode": 0}}),
                Status::Ok,
                Some(0),
            ),
            (
                json!({"reason": "exit", "result": {"exitCode": 3}}),
                Status::Failed,
                Some(3),
            ),
            (
                json!({"reason": "exit", "result": {"exitCode": null, "signal": 9}}),
                Status::Failed,
                Some(137),
            ),
            (
                json!({"reason": "timeout", "result": {"error": "timed out"}}),
                Status::Timeout,
                None,
            ),
            (
                json!({"reason": "spawn", "result": {"error": "spawn picoclaw ENOENT"}}),
                Status::Missing,
                None,
            ),
            (
                json!({"reason": "spawn", "payload": shell, "result": {"error": "spawn gone ENOENT"}}),
                Status::Failed,
                Some(127),
            ),
            (json!({"reason": "lost"}), Status::Lost, None),
            (json!({"reason": "cancelled"}), Status::Cancelled, None),
            (json!({"reason": "deadline"}), Status::Skipped, None),
            (
                json!({"reason": "spawn", "result": {"detail": "host-key", "error": "changed"}}),
                Status::HostKey,
                None,
            ),
        ];
        for (more, status, exit) in cases {
            let judged = verdict(&job(more.clone())).unwrap();
            assert_eq!((judged.status, judged.exit), (status, exit), "{more}");
        }
        assert!(verdict(&job(json!({"status": "leased"}))).is_none());
        let killed = verdict(&job(json!({"reason": "exit", "result": {"signal": 9}}))).unwrap();
        assert_eq!(killed.error.as_deref(), Some("killed by signal KILL"));
        assert_eq!(killed.signal.as_deref(), Some("KILL"));
    }
}
