//! What openraft is told about us: which types stand for its members, entries and answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::runtime::Runtime;
use super::state::Copy;
use super::{Member, MemberId};
use crate::queue::error::Error;
use crate::queue::store::{Applied, Place};

openraft::declare_raft_types!(
    /// Our side of openraft.
    pub Types:
        D = Batch,
        R = Answers,
        NodeId = MemberId,
        Node = Member,
        Entry = openraft::Entry<Types>,
        SnapshotData = Copy,
        AsyncRuntime = Runtime,
);

/// Where an entry is.
pub type LogId = openraft::LogId<MemberId>;
/// Whom a member stands by.
pub type Vote = openraft::Vote<MemberId>;
/// Who is in the cluster, and which entry says so.
pub type Members = openraft::StoredMembership<MemberId, Member>;
/// What ends the engine.
pub type StorageError = openraft::StorageError<MemberId>;
/// The engine.
pub type Raft = openraft::Raft<Types>;
/// One entry of the log.
pub type Entry = openraft::Entry<Types>;

/// The commands of one entry, as they are on disk and on the wire.
#[derive(Clone)]
pub struct Batch {
    /// See [`super::format`].
    pub bytes: Arc<[u8]>,
    /// Set once it is in this member's own log: from then on it may come to pass.
    begun: Option<Arc<AtomicBool>>,
}

impl Batch {
    /// Returns one that was read.
    pub fn read(bytes: Vec<u8>) -> Self {
        Self {
            bytes: bytes.into(),
            begun: None,
        }
    }

    /// Returns one that is proposed here, and what tells whether it got into the log.
    pub fn proposed(bytes: Vec<u8>) -> (Self, Arc<AtomicBool>) {
        let begun = Arc::new(AtomicBool::new(false));
        let batch = Self {
            bytes: bytes.into(),
            begun: Some(Arc::clone(&begun)),
        };
        (batch, begun)
    }

    /// Notes that it is in the log.
    pub fn begin(&self) {
        if let Some(begun) = &self.begun {
            begun.store(true, Ordering::Release);
        }
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not what is in it: that may be secret.
        write!(f, "Batch({} bytes)", self.bytes.len())
    }
}

/// What came of the commands of one entry, in order.
#[derive(Debug, Default)]
pub struct Answers(pub Vec<Result<Applied, Error>>);

/// openraft wants these to be serializable for encodings of its own, which are not used here.
macro_rules! never_written {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("has a form of its own"))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                Err(serde::de::Error::custom("has a form of its own"))
            }
        }
    };
}

never_written!(Batch);
never_written!(Answers);

/// Returns the store's word for where an entry is.
pub fn place(id: &LogId) -> Place {
    Place {
        term: id.leader_id.term,
        node: id.leader_id.node_id.get(),
        index: id.index,
    }
}

/// Returns openraft's word for where an entry is.
pub fn log_id(place: &Place) -> LogId {
    let leader = openraft::CommittedLeaderId::new(place.term, MemberId::from(place.node));
    LogId::new(leader, place.index)
}
