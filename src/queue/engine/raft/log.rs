//! The log as openraft sees it: in memory as far as it is recent, on disk before anybody relies on it.

#![allow(clippy::result_large_err, reason = "the error is openraft's")]

mod notes;
mod recent;

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};

use super::disk::{Disk, Told};
use super::fault::Fault;
use super::format::kind;
use super::types::{Batch, Entry, LogId, StorageError, Types, Vote, log_id, place};
use crate::queue::error::Error;
use crate::queue::store::{self, Edit, Journal, Line};
pub use notes::{Notes, note, noted, to_note};
use recent::Recent;

/// How much of the log one message between members holds; a longer entry goes alone.
pub const MESSAGE: u64 = 1024 * 1024;

/// The log of this member. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Disk,
    recent: Mutex<Recent>,
    /// The queue's file, which must not be behind what goes of the log.
    queue: PathBuf,
    fault: Fault,
}

impl Log {
    /// Takes over an open log of the queue at `queue`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn start(
        journal: Journal,
        queue: &Path,
        inline: bool,
        fault: Fault,
    ) -> Result<Self, Error> {
        let notes = Notes::read(&journal)?;
        let recent = Recent::new(notes, journal.sizes()?);
        Ok(Self {
            shared: Arc::new(Shared {
                disk: Disk::start(journal, inline, fault.clone())?,
                recent: Mutex::new(recent),
                queue: queue.to_owned(),
                fault,
            }),
        })
    }

    /// Notes something beside the entries.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn note(&self, edit: Edit) -> Result<(), Error> {
        self.shared.disk.write_and_wait(vec![edit]).await
    }

    /// Returns how many bytes the entries have.
    pub fn bytes(&self) -> u64 {
        self.recent().bytes()
    }

    /// Returns the last entry of those that must go so that what stays has at most `most` bytes.
    pub fn beyond(&self, most: u64) -> Option<u64> {
        self.recent().beyond(most)
    }

    /// Lets go of the file.
    pub fn close(&self) {
        self.shared.disk.close();
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        let recent = &self.shared.recent;
        recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn entries(&self, from: u64, before: u64, most: u64) -> Result<Vec<Entry>, StorageError> {
        let (missing, known) = self.recent().entries(from, before, most);
        let Some(missing) = missing else {
            return Ok(known);
        };
        let lines = self.shared.disk.lines(missing.start, missing.end, most);
        let lines = lines.await.map_err(|error| self.failed(&error))?;
        let mut entries = lines
            .into_iter()
            .map(|line| self.entry(line))
            .collect::<Result<Vec<_>, _>>()?;
        let bytes: u64 = entries.iter().map(recent::length).sum();
        let is_whole = entries.len() as u64 == missing.end - missing.start;
        if is_whole {
            let mut room = most.saturating_sub(bytes);
            for entry in known {
                let Some(left) = room.checked_sub(recent::length(&entry)) else {
                    break;
                };
                room = left;
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    fn entry(&self, line: Line) -> Result<Entry, StorageError> {
        let path = || store::journal_of(&self.shared.queue);
        entry(line, path).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &Error) -> StorageError {
        self.shared.fault.of_log(error)
    }
}

/// Returns the entry that a line holds.
///
/// # Errors
/// When this program does not know what it is.
pub fn entry(line: Line, path: impl FnOnce() -> PathBuf) -> Result<Entry, Error> {
    let index = line.place.index;
    let unknown = |what: String| Error::Log {
        path: path(),
        detail: format!("entry {index} {what}"),
    };
    let payload = match line.kind {
        kind::BLANK => EntryPayload::Blank,
        kind::COMMANDS => EntryPayload::Normal(Batch::read(line.body)),
        kind::MEMBERS => match serde_json::from_slice(&line.body) {
            Ok(members) => EntryPayload::Membership(members),
            Err(error) => return Err(unknown(format!("cannot be read ({error})"))),
        },
        kind => {
            return Err(unknown(format!(
                "is of kind {kind}, which this skyclaw does not know: use a newer skyclaw"
            )));
        }
    };
    Ok(Entry {
        log_id: log_id(&line.place),
        payload,
    })
}

/// Returns what an entry is and what it says.
pub fn body(entry: &Entry) -> (u8, Arc<[u8]>) {
    match &entry.payload {
        EntryPayload::Blank => (kind::BLANK, Arc::from([])),
        EntryPayload::Normal(batch) => (kind::COMMANDS, Arc::clone(&batch.bytes)),
        EntryPayload::Membership(members) => {
            // Numbers and texts of ours: they have a form.
            let bytes = serde_json::to_vec(members).unwrap_or_default();
            (kind::MEMBERS, bytes.into())
        }
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let before = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(before) => *before,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(from, before, u64::MAX).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        self.entries(start, end, MESSAGE).await
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        Ok(self.recent().state())
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.recent().notes.vote = Some(*vote);
        let done = self.note(to_note(note::VOTE, vote)).await;
        done.map_err(|error| self.failed(&error))
    }

    /// openraft would have a member that led before go on leading at once. It is elected again instead: others may have
    /// gone on meanwhile, and a copy of its files must not lead beside it in the same term.
    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let notes = self.recent().notes.clone();
        let is_own = |vote: &Vote| vote.leader_id.voted_for() == notes.member;
        Ok(notes.vote.map(|vote| Vote {
            committed: vote.committed && !is_own(&vote),
            ..vote
        }))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        // It goes to disk with the next entries: after a restart it may be a little behind.
        self.recent().notes.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let recent = self.recent();
        // Noted with entries that were cut off again, or before the log was.
        let last = recent.state().last_log_id;
        Ok(recent
            .notes
            .committed
            .filter(|at| Some(at.index) <= last.map(|last| last.index)))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut edits = Vec::new();
        {
            let mut recent = self.recent();
            for entry in entries {
                let (kind, body) = body(&entry);
                edits.push(Edit::Append(place(&entry.log_id), kind, body));
                if let EntryPayload::Normal(batch) = &entry.payload {
                    batch.begin();
                }
                recent.push(entry);
            }
            if let Some(committed) = recent.committed_to_save() {
                edits.push(to_note(note::COMMITTED, &committed));
            }
        }
        self.shared.disk.write(edits, Told::Raft(callback));
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        self.recent().cut_from(since.index);
        let edits = vec![Edit::CutFrom(since.index)];
        let done = self.shared.disk.write_and_wait(edits).await;
        done.map_err(|error| self.failed(&error))
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        // The queue's own commits do not wait for the disk, because the log could bring them back.
        let queue = self.shared.queue.clone();
        let synced = super::off_task(self.shared.disk.is_inline(), move || store::sync(&queue));
        synced.await.map_err(|error| self.failed(&error))?;
        self.recent().drop_to(upto);
        let edits = vec![Edit::DropTo(upto.index), to_note(note::PURGED, &upto)];
        let done = self.shared.disk.write_and_wait(edits).await;
        done.map_err(|error| self.failed(&error))
    }
}
