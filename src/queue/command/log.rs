//! Output of running jobs, piece by piece.

use serde::{Deserialize, Serialize};

use super::LeaseRef;
use crate::protocol::AttemptNo;
use crate::protocol::api::Stream;

/// How many bytes of output are kept for one job, in pieces. Beyond that the middle goes.
pub const LOG_LIMIT: u64 = 16 * 1024 * 1024;

/// How many bytes from the beginning always stay.
pub const LOG_HEAD: u64 = LOG_LIMIT / 2;

/// A piece to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPiece {
    /// Whose it is.
    pub lease: LeaseRef,
    /// Where it was printed.
    pub stream: Stream,
    /// How many bytes of that stream came before.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A piece that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its number; pieces of a job are read in the order of their numbers.
    pub number: i64,
    /// Which try printed it.
    pub attempt: AttemptNo,
    /// Where.
    pub stream: Stream,
    /// How many bytes of that stream came before.
    pub offset: u64,
    /// How many bytes right before this piece are not kept.
    pub dropped: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}
