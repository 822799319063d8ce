//! A job as others see it: its status, its attempts, its result.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AttemptNo, GroupId, HostId, JobId, Output, Payload, Requirement, Usage};
use crate::support::clock::Timestamp;

/// Where a job stands. These four words are the whole set; [`Reason`] says more.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Waits for a host.
    Queued,
    /// A host has the right to run it.
    Leased,
    /// Ended well; never changes again.
    Completed,
    /// Ended badly or was not run; never changes again.
    Failed,
}

impl JobStatus {
    /// Tells whether a job with this status never changes again.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::Failed => true,
            Self::Queued | Self::Leased => false,
        }
    }

    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// Why a job failed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It ran and ended with another code than 0, or by a signal.
    Exit,
    /// It ran longer than it was allowed to.
    Timeout,
    /// A person took it back.
    Cancelled,
    /// It could not be started in time.
    Deadline,
    /// The host does not allow it.
    NotAllowed,
    /// The host vanished while it ran.
    Lost,
    /// Every try that it was allowed was used up.
    Dead,
    /// It could not be started on the host.
    Spawn,
}

impl Reason {
    /// Every reason, in the order of the numbers that stand for them in the store.
    pub const ALL: [Self; 8] = [
        Self::Exit,
        Self::Timeout,
        Self::Cancelled,
        Self::Deadline,
        Self::NotAllowed,
        Self::Lost,
        Self::Dead,
        Self::Spawn,
    ];

    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Deadline => "deadline",
            Self::NotAllowed => "not_allowed",
            Self::Lost => "lost",
            Self::Dead => "dead",
            Self::Spawn => "spawn",
        }
    }
}

/// What came of running a job once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "ResultWire", into = "ResultWire")]
pub struct JobResult {
    /// When it ended, by the clock of whoever ran it.
    pub finished_at: Timestamp,
    /// How long it ran.
    pub duration_ms: u64,
    /// Its exit code, unless a signal ended it or it never started.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
    /// A status word finer than [`Reason`], such as `unreachable` or `host-key`.
    pub detail: Option<String>,
    /// What went wrong, for people.
    pub error: Option<String>,
}

impl JobResult {
    /// Returns the same result with both streams within `limit` bytes each.
    #[must_use]
    pub fn within(self, limit: usize) -> Self {
        Self {
            stdout: self.stdout.within(limit),
            stderr: self.stderr.within(limit),
            ..self
        }
    }
}

/// The JSON form: text where the bytes are UTF-8, and base64 beside it where they are not.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ResultWire {
    /// When it ended, by the clock of whoever ran it. Hosts of the original do not say.
    #[serde(default)]
    finished_at: Timestamp,
    /// How long it ran.
    #[serde(default, deserialize_with = "whole_millis")]
    duration_ms: u64,
    #[serde(default, deserialize_with = "any_exit_code")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    signal: Option<i32>,
    #[serde(default)]
    stdout: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    stdout_b64: Option<String>,
    #[serde(default)]
    stdout_bytes: Option<u64>,
    #[serde(default)]
    stdout_truncated: bool,
    #[serde(default)]
    stderr: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    stderr_b64: Option<String>,
    #[serde(default)]
    stderr_bytes: Option<u64>,
    #[serde(default)]
    stderr_truncated: bool,
    /// Either stream was cut.
    #[serde(default)]
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    error: Option<String>,
}

/// Reads a span in milliseconds as any host may measure it: with a fraction, or below zero when its
/// clock was set back. A result is not refused for that.
fn whole_millis<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let millis = Option::<f64>::deserialize(deserializer)?.unwrap_or_default();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast cuts to whole numbers and keeps to the range, as it should"
    )]
    Ok(millis as u64)
}

/// Reads an exit code; where codes are 32 bits without a sign, such as 3221225786, it is the same bits with one.
fn any_exit_code<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i32>, D::Error> {
    let Some(code) = Option::<i64>::deserialize(deserializer)? else {
        return Ok(None);
    };
    i32::try_from(code)
        .or_else(|_| u32::try_from(code).map(u32::cast_signed))
        .map(Some)
        .map_err(serde::de::Error::custom)
}

impl From<JobResult> for ResultWire {
    fn from(result: JobResult) -> Self {
        let truncated = result.stdout.truncated || result.stderr.truncated;
        let (stdout, stdout_b64) = to_text(result.stdout.bytes);
        let (stderr, stderr_b64) = to_text(result.stderr.bytes);
        Self {
            finished_at: result.finished_at,
            duration_ms: result.duration_ms,
            exit_code: result.exit_code,
            signal: result.signal,
            stdout,
            stdout_b64,
            stdout_bytes: Some(result.stdout.total),
            stdout_truncated: result.stdout.truncated,
            stderr,
            stderr_b64,
            stderr_bytes: Some(result.stderr.total),
            stderr_truncated: result.stderr.truncated,
            truncated,
            detail: result.detail,
            error: result.error,
        }
    }
}

impl From<ResultWire> for JobResult {
    fn from(wire: ResultWire) -> Self {
        let stdout = from_text(wire.stdout, wire.stdout_b64);
        let stderr = from_text(wire.stderr, wire.stderr_b64);
        Self {
            finished_at: wire.finished_at,
            duration_ms: wire.duration_ms,
            exit_code: wire.exit_code,
            signal: wire.signal,
            stdout: Output {
                total: wire.stdout_bytes.unwrap_or(stdout.len() as u64),
                truncated: wire.stdout_truncated,
                bytes: stdout,
            },
            stderr: Output {
                total: wire.stderr_bytes.unwrap_or(stderr.len() as u64),
                truncated: wire.stderr_truncated,
                bytes: stderr,
            },
            detail: wire.detail,
            error: wire.error,
        }
    }
}

impl utoipa::PartialSchema for JobResult {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        ResultWire::schema()
    }
}

impl ToSchema for JobResult {}

fn to_text(bytes: Vec<u8>) -> (String, Option<String>) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => (
            String::from_utf8_lossy(error.as_bytes()).into_owned(),
            Some(STANDARD.encode(error.as_bytes())),
        ),
    }
}

fn from_text(text: String, encoded: Option<String>) -> Vec<u8> {
    encoded
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .unwrap_or_else(|| text.into_bytes())
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AttemptEnd {
    /// The job ended well.
    Succeeded,
    /// The job ended badly; the reason stands beside it.
    Failed,
    /// The lease ran out, or the holder saw its host vanish.
    Lost,
    /// It was given back unharmed.
    Released,
}

impl AttemptEnd {
    /// Every ending, in the order of the numbers that stand for them in the store.
    pub const ALL: [Self; 4] = [Self::Succeeded, Self::Failed, Self::Lost, Self::Released];
}

/// One try of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptRecord {
    /// Which try.
    pub attempt: AttemptNo,
    /// Who made it.
    pub host: HostId,
    /// When the host got the lease.
    pub started_at: Timestamp,
    /// When the queue took note of its end; nothing while it goes on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end: Option<AttemptEnd>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// What the holder reported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<JobResult>,
}

/// That somebody wants a job to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelRecord {
    /// When it was asked.
    pub asked_at: Timestamp,
    /// What the person said about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// A job and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// Where it stands.
    pub status: JobStatus,
    /// Why it failed, or why it was last put back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it reached its last status.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_at: Option<Timestamp>,
    /// How many tries were begun.
    pub attempts: AttemptNo,
    /// Who may run it.
    pub requirement: Requirement,
    /// What to run.
    pub payload: Payload,
    /// Higher runs first.
    pub priority: i8,
    /// The group it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<GroupId>,
    /// Who asked for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub submitted_by: Option<String>,
    /// How long one try may run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
    /// The ended job that this one repeats.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_of: Option<JobId>,
    /// When a try must have begun.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub start_by: Option<Timestamp>,
    /// When the next try may begin.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_before: Option<Timestamp>,
    /// Who holds the lease now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub assigned_host_id: Option<HostId>,
    /// When that lease runs out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lease_expires_at: Option<Timestamp>,
    /// Who made the last try, running or over.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_host_id: Option<HostId>,
    /// When that try began.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_at: Option<Timestamp>,
    /// That it is to end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cancel: Option<CancelRecord>,
    /// What came of the last try that ended with a report.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<JobResult>,
    /// What its agent says it used, where one job is asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usage: Option<Usage>,
    /// What went wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_text_survive_json() {
        let result = JobResult {
            exit_code: Some(3),
            stdout: Output::of(vec![b'a', 0xff, 0], 10),
            stderr: Output::of("é".into(), 10),
            detail: Some("missing".into()),
            ..JobResult::default()
        };
        let json = serde_json::to_value(&result).unwrap();
        assert_eq!(json["stderr"], "é");
        assert_eq!(json["stdoutBytes"], 3);
        assert_eq!(json["exitCode"], 3);
        assert!(json.get("stderrB64").is_none());
        assert_eq!(serde_json::from_value::<JobResult>(json).unwrap(), result);
    }

    #[test]
    fn words_are_those_of_the_wire() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
            assert_eq!(reason as usize, index);
        }
        assert_eq!(serde_json::to_value(JobStatus::Leased).unwrap(), "leased");
    }

    #[test]
    fn the_older_result_form_is_read() {
        let json = r#"{"finishedAt":"2024-01-01T00:00:00.000Z","durationMs":5,"exitCode":null,"stdout":"x","stderr":""}"#;
        let result: JobResult = serde_json::from_str(json).unwrap();
        assert_eq!((result.stdout.total, result.exit_code), (1, None));
    }

    #[test]
    fn numbers_of_other_hosts_do_not_cost_a_result() {
        let read = |json: &str| serde_json::from_str::<JobResult>(json);
        for (millis, wanted) in [("12.7", 12), ("-3", 0), ("null", 0), ("1e30", u64::MAX)] {
            let result = read(&format!("{{\"durationMs\":{millis}}}")).unwrap();
            assert_eq!(result.duration_ms, wanted, "{millis}");
        }
        for (code, wanted) in [("-1", -1), ("3221225786", -1_073_741_510), ("255", 255)] {
            let result = read(&format!("{{\"exitCode\":{code}}}")).unwrap();
            assert_eq!(result.exit_code, Some(wanted));
        }
        assert!(read(r#"{"exitCode":99999999999}"#).is_err());
    }
}
