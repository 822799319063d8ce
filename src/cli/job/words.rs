//! A job in a few words, for tables.

use crate::protocol::api::JobKind;
use crate::protocol::{JobRecord, Payload};

/// More of a command than this does not help in a table.
const LONGEST: usize = 100;

/// Returns what the job runs, on one line.
pub fn what(payload: &Payload) -> String {
    let text = match serde_json::from_str(payload.as_str()) {
        Ok(JobKind::Shell { command, args, .. }) => joined(&command, &args),
        Ok(JobKind::OpenclawRun { args, message, .. }) => {
            with_message(joined("openclaw", &args), message.as_deref())
        }
        Ok(JobKind::AutomatonRun { args, .. }) => joined("automaton", &args),
        Ok(JobKind::PicoclawTask { message, .. }) => {
            with_message("picoclaw".to_owned(), Some(&message))
        }
        Err(_) => payload.as_str().to_owned(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn joined(command: &str, args: &[String]) -> String {
    std::iter::once(command)
        .chain(args.iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join(" ")
}

fn with_message(head: String, message: Option<&str>) -> String {
    match message {
        Some(message) => format!("{head}: {message}"),
        None => head,
    }
}

/// Returns where the job stands: its status, and the reason of a failure.
pub fn standing(job: &JobRecord) -> String {
    match (job.status.is_final(), job.reason) {
        (true, Some(reason)) => format!("{}/{}", job.status.as_str(), reason.as_str()),
        (_, _) if job.cancel.is_some() && !job.status.is_final() => {
            format!("{}/cancelling", job.status.as_str())
        }
        (_, _) => job.status.as_str().to_owned(),
    }
}

/// Returns the exit code or the signal, if there is one.
pub fn exit(job: &JobRecord) -> String {
    let result = job.result.as_ref();
    match result.map(|result| (result.exit_code, result.signal)) {
        Some((Some(code), _)) => code.to_string(),
        Some((None, Some(signal))) => format!("signal {signal}"),
        Some((None, None)) | None => String::new(),
    }
}
