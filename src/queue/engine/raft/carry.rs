//! How a message gets to another member: over HTTP in a coordinator, through channels in tests.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Member, MemberId};

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// More of the log, or only that the leader is there.
    Append,
    /// Somebody wants to lead.
    Vote,
    /// A piece of a copy of the state.
    Snapshot,
}

impl Kind {
    /// Returns the last part of its address.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Vote => "vote",
            Self::Snapshot => "snapshot",
        }
    }
}

/// Brings messages to other members and their answers back.
pub trait Carrier: Send + Sync + 'static {
    /// Hands `body` to member `to`, has it put to [`Cluster::receive`](super::Cluster::receive)
    /// there, and returns what that returned.
    ///
    /// Dropping the future gives up on the answer.
    fn carry(
        &self,
        to: MemberId,
        at: &Member,
        kind: Kind,
        body: Vec<u8>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, CarryError>>;
}

/// Why a message brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CarryError {
    /// Nobody was there, or no answer came in time. Whether it arrived is not known.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// It is longer than the way allows.
    #[error("the message is too large")]
    TooLarge,
    /// The other side would not take it.
    #[error("refused: {0}")]
    Refused(String),
}
