//! The queue as openraft sees it: what the log makes of it, and copies of it.
//!
//! No copy is kept. What openraft calls building a snapshot only sees to it that the queue is on disk up to some
//! entry, so that the log before it may go: that costs one sync, however large the queue is. A real
//! copy is made when a member needs one.

#![allow(clippy::result_large_err, reason = "the error is openraft's")]

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, SnapshotMeta};

use super::fault::Fault;
use super::types::{Answers, Entry, LogId, Members, StorageError, Types, log_id, place};
use super::{ClusterId, format, off_task};
use crate::queue::engine::local::Local;
use crate::queue::engine::now::Now;
use crate::queue::error::Error;
use crate::queue::store::{self, Pinned, Replay, Replica};

/// A copy of the queue on its way.
pub enum Copy {
    /// Nothing has come yet.
    Empty,
    /// As the queue stood at one moment, to be written out or taken over.
    Pinned(Pinned),
    /// In a file of its own that is whole and on disk, and stays until the queue has become it.
    File(PathBuf),
}

/// The cluster that this member is of, once it is known.
#[derive(Clone, Default)]
pub struct OwnCluster(Arc<RwLock<Option<ClusterId>>>);

impl OwnCluster {
    /// Returns it.
    pub fn get(&self) -> Option<ClusterId> {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns or forgets it.
    pub fn set(&self, cluster: Option<ClusterId>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = cluster;
    }
}

/// The queue of this member. Cheap to clone.
#[derive(Clone)]
pub struct State {
    /// Its writer.
    pub local: Arc<Local>,
    /// The time that goes into commands.
    pub now: Arc<Now>,
    /// The cluster it is of; copies tell.
    pub cluster: OwnCluster,
    /// Who learns of faults.
    pub fault: Fault,
}

/// Returns up to where the queue has come and who was in the cluster then.
///
/// # Errors
/// When the words about the members cannot be read.
pub fn applied(replica: Option<&Replica>) -> Result<(Option<LogId>, Members), String> {
    let Some(replica) = replica else {
        return Ok((None, Members::default()));
    };
    let members = match replica.members.as_str() {
        "" => Members::default(),
        text => serde_json::from_str(text)
            .map_err(|error| format!("its members cannot be read ({error})"))?,
    };
    Ok((replica.applied.as_ref().map(log_id), members))
}

impl State {
    fn path(&self) -> PathBuf {
        self.local.path().to_owned()
    }

    fn failed(&self, error: &Error) -> StorageError {
        self.fault.of_state(error)
    }

    fn odd(&self, detail: String) -> StorageError {
        let path = store::journal_of(self.local.path());
        self.failed(&Error::Log { path, detail })
    }

    async fn pin(&self) -> Result<Snapshot<Types>, StorageError> {
        let path = self.path();
        let pinned = off_task(self.local.is_inline(), move || Pinned::take(&path));
        let pinned = pinned.await.map_err(|error| self.failed(&error))?;
        let (last_log_id, last_membership) =
            applied(pinned.replica()).map_err(|detail| self.odd(detail))?;
        let meta = SnapshotMeta {
            last_log_id,
            last_membership,
            snapshot_id: last_log_id.map(|last| last.to_string()).unwrap_or_default(),
        };
        let snapshot = Box::new(Copy::Pinned(pinned));
        Ok(Snapshot { meta, snapshot })
    }

    fn replay(&self, entries: Vec<Entry>) -> Result<Option<Replay>, StorageError> {
        let Some(last) = entries.last().map(|entry| entry.log_id) else {
            return Ok(None);
        };
        let mut replay = Replay {
            entries: Vec::with_capacity(entries.len()),
            upto: place(&last),
            members: None,
        };
        for entry in entries {
            replay.entries.push(match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Normal(batch) => format::read(&batch.bytes)
                    .map_err(|what| self.odd(format!("entry {} {what}", entry.log_id.index)))?,
                EntryPayload::Membership(members) => {
                    let members = Members::new(Some(entry.log_id), members);
                    // Numbers and texts of ours: they have a form.
                    replay.members = serde_json::to_string(&members).ok();
                    Vec::new()
                }
            });
        }
        Ok(Some(replay))
    }
}

impl RaftSnapshotBuilder<Types> for State {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let built = self.pin().await?;
        let path = self.path();
        let synced = off_task(self.local.is_inline(), move || store::sync(&path));
        synced.await.map_err(|error| self.failed(&error))?;
        Ok(built)
    }
}

impl RaftStateMachine<Types> for State {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Members), StorageError> {
        let replica = self.local.with(|store| store.replica()).await;
        let replica = replica.map_err(|error| self.failed(&error))?;
        applied(replica.as_ref()).map_err(|detail| self.odd(detail))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answers>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let Some(replay) = self.replay(entries.into_iter().collect())? else {
            return Ok(Vec::new());
        };
        let done = self.local.with(move |store| store.replay(&replay)).await;
        let done = done.map_err(|error| self.failed(&error))?;
        self.now.not_before(done.now);
        self.local.tell(done.changes);
        Ok(done.answers.into_iter().map(Answers).collect())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Copy>, StorageError> {
        Ok(Box::new(Copy::Empty))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<super::MemberId, super::Member>,
        snapshot: Box<Copy>,
    ) -> Result<(), StorageError> {
        let become_it = self.local.with(move |store| {
            match *snapshot {
                Copy::Empty => {}
                Copy::Pinned(view) => store.become_view(&view)?,
                Copy::File(file) => store.become_file(&file)?,
            }
            store.replica()
        });
        let replica = become_it.await.map_err(|error| self.failed(&error))?;
        let (last, _) = applied(replica.as_ref()).map_err(|detail| self.odd(detail))?;
        if last != meta.last_log_id {
            return Err(self.odd("does not fit the copy of the queue that came".to_owned()));
        }
        if let Some(replica) = replica {
            self.now.not_before(replica.now);
            self.cluster.set(replica.cluster.parse().ok());
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let current = self.pin().await?;
        Ok(current.meta.last_log_id.is_some().then_some(current))
    }
}
