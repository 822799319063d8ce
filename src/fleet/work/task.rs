//! From a job's payload to the command that a host runs for it.

use std::time::Duration;

use crate::fleet::file::Host;
use crate::fleet::payload;
use crate::fleet::remote::Command;
use crate::protocol::api::{JobKind, LeasedJob};
use crate::support::chain::chain;

/// How long a job may run where nobody says: as long as with a host daemon.
const TIMEOUT: Duration = Duration::from_secs(300);
/// The least time a job gets, whatever it asks for.
const LEAST_LIMIT: Duration = Duration::from_secs(1);
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Debug)]
pub(super) struct Task {
    pub command: Command,
    pub timeout: Option<Duration>,
    pub grace: Duration,
}

/// Returns what `job` means on `host`, or why it cannot run there, in words for people.
pub(super) fn of(job: &LeasedJob, host: &Host) -> Result<Task, String> {
    let kind: JobKind = serde_json::from_str(job.payload.as_str())
        .map_err(|error| format!("the payload is not understood: {error}"))?;
    let asked = job.timeout_ms.or(kind.timeout_ms());
    let timeout = match (asked, host.timeout) {
        (Some(millis), _) => Some(Duration::from_millis(millis).max(LEAST_LIMIT)),
        (None, Some(limit)) => limit.0,
        (None, None) => Some(TIMEOUT),
    };
    let command = payload::command(&kind, job.id, host).map_err(|error| chain(&error))?;
    Ok(Task {
        command,
        timeout,
        grace: kind.grace_ms().map_or(GRACE, Duration::from_millis),
    })
}
