//! What a log's file says beside its entries.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::queue::engine::raft::types::{LogId, Vote, place};
use crate::queue::engine::raft::{ClusterId, MemberId};
use crate::queue::error::Error;
use crate::queue::store::{self, Edit, Journal, Replica};

/// The names under which things are noted beside the entries.
pub mod note {
    /// The member's number.
    pub const MEMBER: &str = "member";
    /// Its cluster.
    pub const CLUSTER: &str = "cluster";
    /// Whom it stands by.
    pub const VOTE: &str = "vote";
    /// Up to where it knew the log to be agreed on; may be behind.
    pub const COMMITTED: &str = "committed";
    /// Up to where the log is gone.
    pub const PURGED: &str = "purged";
    /// As what kind of beginning it is about to go on alone.
    pub const FORCING: &str = "forcing";
}

/// What a log's file says beside its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// The member's number.
    pub member: Option<MemberId>,
    /// Its cluster.
    pub cluster: Option<ClusterId>,
    /// Whom it stands by.
    pub vote: Option<Vote>,
    /// Up to where it knew the log to be agreed on.
    pub committed: Option<LogId>,
    /// Up to where the log is gone.
    pub purged: Option<LogId>,
}

impl Notes {
    /// Reads them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(journal: &Journal) -> Result<Self, Error> {
        Ok(Self {
            member: noted(journal, note::MEMBER)?,
            cluster: noted(journal, note::CLUSTER)?,
            vote: noted(journal, note::VOTE)?,
            committed: noted(journal, note::COMMITTED)?,
            purged: noted(journal, note::PURGED)?,
        })
    }

    /// Tells whether somebody took this store for a member's: it has a past that must not be forgotten.
    pub const fn is_member(&self) -> bool {
        self.cluster.is_some() || self.vote.is_some() || self.purged.is_some()
    }

    /// Sees to it that the queue belongs to this log, is not older than what is gone of it, and not newer than what
    /// is there: a log that was put back forgot whom its member stands by.
    ///
    /// # Errors
    /// When it does not, with what to do.
    pub fn check(
        &self,
        journal: &Journal,
        queue: &Path,
        replica: Option<&Replica>,
    ) -> Result<(), Error> {
        let applied = replica.and_then(|replica| replica.applied);
        let cluster = replica.map_or("", |replica| replica.cluster.as_str());
        let last = journal.last()?.or(self.purged.as_ref().map(place));
        let known = match applied {
            None => true,
            // Everything that is applied was in the log before, and is until it is gone.
            Some(applied) => {
                let same = match journal.place(applied.index)? {
                    Some(there) => there == applied,
                    None => true,
                };
                same && last.is_some_and(|last| last.index >= applied.index)
            }
        };
        let fits = match (&self.purged, applied) {
            (Some(purged), Some(applied)) => applied.index >= purged.index,
            (Some(_), None) => false,
            (None, _) => true,
        };
        let same = self.cluster.is_none_or(|own| own.to_string() == cluster)
            || (self.purged.is_none() && applied.is_none());
        if fits && same && known {
            return Ok(());
        }
        let path = store::journal_of(queue);
        Err(Error::Log {
            detail: format!(
                "does not fit the queue {}: one of them was replaced or is lost. To go on alone with what the queue \
                 has, move only {} and the files that begin with its name aside. If the others still have \
                 everything, join them again as a new member: move both files and their -wal, -shm and -lock files aside",
                queue.display(),
                path.display()
            ),
            path,
        })
    }
}

/// Returns what is noted under a name.
///
/// # Errors
/// When it cannot be read.
pub fn noted<T: DeserializeOwned>(journal: &Journal, name: &str) -> Result<Option<T>, Error> {
    let Some(text) = journal.note(name)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| Error::Log {
            path: journal.path().to_owned(),
            detail: format!("its note {name} cannot be read ({error})"),
        })
}

/// Returns the change that notes `value`.
pub fn to_note<T: Serialize>(name: &'static str, value: &T) -> Edit {
    // Numbers and texts of ours: they have a form.
    Edit::Note(name, serde_json::to_string(value).ok())
}
