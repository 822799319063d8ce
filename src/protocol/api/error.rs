//! How a coordinator says no.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every answer that is not 2xx. The original reads only `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What is wrong, for people. Texts of the original are kept as they were.
    pub error: String,
    /// What is wrong, for programs.
    #[serde(default)]
    pub code: Code,
}

/// What a caller can act on. Each belongs to one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 400: the request is malformed, or a field is missing or out of range.
    BadRequest,
    /// 401: no token, or a wrong one.
    Unauthorized,
    /// 403: the caller may not do this.
    Forbidden,
    /// 404: no such route.
    NotFound,
    /// 404: no such job, or not the caller's.
    UnknownJob,
    /// 404: no such host; a host should register again.
    UnknownHost,
    /// 404: no such service.
    UnknownService,
    /// 404: no such group.
    UnknownGroup,
    /// 405: the route exists, the method does not.
    MethodNotAllowed,
    /// 409: the lease is not the sender's, or no longer. Its result was put aside.
    LeaseLost,
    /// 409: another live host uses this id.
    HostIdInUse,
    /// 409: the idempotency key was used with another body.
    KeyReuse,
    /// 409: what was asked does not fit the state of the thing.
    Conflict,
    /// 413: the body is longer than the route takes.
    TooLarge,
    /// 422: a job kind nobody knows.
    UnknownKind,
    /// 422: the request is well formed and cannot be done.
    Unprocessable,
    /// 429: too many waiting jobs, or too many requests; `retry-after` says when.
    TooMany,
    /// 503: not ready, disk full, switched off, or too few peers. Nothing was changed; try again later.
    Unavailable,
    /// 503: no coordinator of the cluster leads just now. Try again soon, with the same idempotency key.
    NoLeader,
    /// 503: too few coordinators of the cluster answered in time. What was asked may have been done or not: try again
    /// with the same idempotency key.
    NoQuorum,
    /// 500: a fault of the coordinator.
    #[default]
    #[serde(other)]
    Internal,
}

impl Code {
    /// Returns the HTTP status that goes with the code.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound
            | Self::UnknownJob
            | Self::UnknownHost
            | Self::UnknownService
            | Self::UnknownGroup => 404,
            Self::MethodNotAllowed => 405,
            Self::LeaseLost | Self::HostIdInUse | Self::KeyReuse | Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::UnknownKind | Self::Unprocessable => 422,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::Unavailable | Self::NoLeader | Self::NoQuorum => 503,
        }
    }
}
