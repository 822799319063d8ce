//! What came of an attempt, as the coordinator is told.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use super::Ran;
use super::phase::Why;
use crate::client::holder::Stop;
use crate::protocol::{JobResult, Output, Reason};
use crate::support::clock::Timestamp;

/// The exit code of a job that the host does not allow, as shells have it for what cannot be run.
pub(in crate::host) const NOT_ALLOWED: i32 = 126;
/// The `detail` of a job whose output could not be read to its end.
pub(in crate::host) const PIPE_HELD: &str = "pipe held";

/// How a process ended.
pub(super) struct End {
    pub status: io::Result<ExitStatus>,
    pub why: Option<Why>,
    pub held: bool,
    pub stdout: Output,
    pub stderr: Output,
    pub duration: Duration,
    pub at: Timestamp,
}

/// Returns the report on a process that ran.
pub(super) fn ended(end: End) -> Ran {
    let (code, signal, broken) = match &end.status {
        Ok(status) => (status.code(), status.signal(), None),
        Err(error) => (None, None, Some(format!("wait for the process: {error}"))),
    };
    let (success, reason, error) = match &end.why {
        Some(why) => {
            let (reason, text) = why_text(why);
            (false, Some(reason), Some(text))
        }
        None if code == Some(0) => (true, None, None),
        None => {
            let text = signal.map(|signal| format!("ended by signal {signal}"));
            (false, Some(Reason::Exit), text.or(broken))
        }
    };
    Ran {
        success,
        reason,
        lost: end.why == Some(Why::Asked(Stop::Lost)),
        result: JobResult {
            finished_at: end.at,
            duration_ms: millis(end.duration),
            exit_code: code,
            signal,
            stdout: end.stdout,
            stderr: end.stderr,
            detail: end.held.then(|| PIPE_HELD.to_owned()),
            error,
        },
    }
}

fn why_text(why: &Why) -> (Reason, String) {
    match why {
        Why::Timeout(limit) => (
            Reason::Timeout,
            format!("timed out after {}ms", millis(*limit)),
        ),
        Why::Asked(stop) => stop_text(stop),
    }
}

fn stop_text(stop: &Stop) -> (Reason, String) {
    let (reason, text) = match stop {
        Stop::Cancel(None, _) => (Reason::Cancelled, "cancelled"),
        Stop::Cancel(Some(why), _) => return (Reason::Cancelled, format!("cancelled: {why}")),
        Stop::Owner => (Reason::Cancelled, "stopped on the host by its owner"),
        Stop::Drain | Stop::Now => (Reason::Lost, "the host daemon was stopped"),
        Stop::Lost => (Reason::Lost, "the lease was lost"),
    };
    (reason, text.to_owned())
}

/// Returns the report on an attempt that was taken back before its process began.
pub(super) fn not_begun(stop: &Stop, at: Timestamp) -> Ran {
    let (reason, text) = stop_text(stop);
    Ran {
        lost: *stop == Stop::Lost,
        ..failure(reason, None, text, at)
    }
}

/// Returns the report on a program that could not be started.
pub(super) fn spawn_failure(name: &str, error: &io::Error, at: Timestamp) -> Ran {
    failure(
        Reason::Spawn,
        None,
        format!("spawn {name} {}", code_of(error)),
        at,
    )
}

/// Returns the report on an attempt without a process.
pub(in crate::host) fn failure(
    reason: Reason,
    exit_code: Option<i32>,
    error: String,
    at: Timestamp,
) -> Ran {
    Ran {
        success: false,
        reason: Some(reason),
        lost: false,
        result: JobResult {
            finished_at: at,
            exit_code,
            error: Some(error),
            ..JobResult::default()
        },
    }
}

/// Returns the name that the original's platform has for the error.
pub(in crate::host) fn code_of(error: &io::Error) -> String {
    use rustix::io::Errno;
    let known = [
        (Errno::NOENT, "ENOENT"),
        (Errno::ACCESS, "EACCES"),
        (Errno::PERM, "EPERM"),
        (Errno::NOEXEC, "ENOEXEC"),
        (Errno::TOOBIG, "E2BIG"),
        (Errno::NOMEM, "ENOMEM"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NFILE, "ENFILE"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::TXTBSY, "ETXTBSY"),
    ];
    let code = error.raw_os_error();
    known
        .iter()
        .find(|(errno, _)| Some(errno.raw_os_error()) == code)
        .map_or_else(|| error.to_string(), |(_, name)| (*name).to_owned())
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
