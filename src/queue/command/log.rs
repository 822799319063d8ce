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
    #[serde(with = "in_base64")]
    pub bytes: Vec<u8>,
}

/// Bytes as text: a list of numbers would be almost four times as long.
mod in_base64 {
    use std::borrow::Cow;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        STANDARD_NO_PAD
            .decode(text.as_bytes())
            .map_err(D::Error::custom)
    }
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
