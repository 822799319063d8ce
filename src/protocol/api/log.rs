//! What a running job prints, piece by piece.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::claim::LeaseName;
use crate::protocol::{AttemptNo, JobId};

/// Which of the two.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece that a host sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogChunk {
    /// Which attempt printed it.
    #[serde(flatten)]
    pub lease: LeaseName,
    /// Where.
    pub stream: Stream,
    /// How many bytes of this stream came before. A piece that is there already is not stored again.
    pub offset: u64,
    /// The bytes in base64, at most 64 KiB of them.
    pub data_b64: String,
}

/// `POST /v1/hosts/:id/logs`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct AppendLogs {
    /// The pieces, in order.
    pub chunks: Vec<LogChunk>,
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogWord {
    /// It is kept (or was before).
    Stored,
    /// The lease is lost: stop.
    Lost,
}

/// The answer about one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogState {
    /// The job.
    pub job_id: JobId,
    /// What became of it.
    pub state: LogWord,
}

/// The answer to [`AppendLogs`], in the order sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct AppendedLogs {
    /// One for each.
    pub results: Vec<LogState>,
}

/// A piece as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogPiece {
    /// Which try printed it.
    pub attempt: AttemptNo,
    /// Where.
    pub stream: Stream,
    /// How many bytes of this stream came before.
    pub offset: u64,
    /// How many bytes right before this piece are not kept any more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// The bytes in base64.
    pub data_b64: String,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `GET /v1/jobs/:id/logs?attempt=&stream=&cursor=&limit=`. With `accept: text/event-stream` the
/// pieces come as events `piece` as they are printed, then one event `end` with the job.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct LogPage {
    /// In the order in which they arrived.
    pub pieces: Vec<LogPiece>,
    /// For `cursor`, to go on.
    pub next: String,
    /// The job has ended and these were the last.
    pub done: bool,
}
