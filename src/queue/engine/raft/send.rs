//! Sends a copy of the queue to a member that the log alone cannot bring up to date any more.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::Snapshot;

use super::log::{Notes, note, to_note};
use super::network::Peer;
use super::state::Copy;
use super::types::{Types, Vote, log_id};
use super::wire::{self, Piece, Received, Whole};
use super::{CarryError, Kind, MemberId, off_task};
use crate::queue::error::Error;
use crate::queue::store::{Edit, Journal, Pinned, Replica, Store};
use crate::support::paths;

/// How long a piece is: well below what a request may have.
pub const PIECE: usize = 512 * 1024;

/// How long the answer to a piece is waited for; twice as long each time. An answer may be lost on its way without a word,
/// and a piece that has come already costs the other side little.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a piece is tried before the whole sending is given up: after a minute.
const TRIES: u32 = 5;

/// The same for the last one, with which the other side makes its queue anew: after two.
const LAST_TRIES: u32 = 6;

/// How long to wait before a piece is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// Returns where copies of the queue at `queue` are while they are sent or received.
pub fn directory(queue: &Path) -> PathBuf {
    let mut name = queue.as_os_str().to_owned();
    name.push("-snapshots");
    PathBuf::from(name)
}

/// Returns where another member's copy is once it has come whole, until the queue at `queue` has become it.
pub fn whole(queue: &Path) -> PathBuf {
    directory(queue).join("whole")
}

/// Makes an empty file for a copy of the queue at `queue`, which goes when it is dropped.
///
/// # Errors
/// When it cannot be made.
pub fn empty_file(queue: &Path) -> Result<tempfile::TempPath, Error> {
    let dir = directory(queue);
    paths::create_private_dir(&dir).map_err(|error| Error::Place(Arc::new(error)))?;
    let made = tempfile::Builder::new().prefix("copy-").tempfile_in(&dir);
    let file = made.map_err(|source| at("make a copy of", queue, source))?;
    Ok(file.into_temp_path())
}

/// Puts a copy that has come where [`whole`] says, on disk, before anybody relies on it.
///
/// # Errors
/// When that fails.
pub fn keep(copy: tempfile::TempPath, queue: &Path) -> Result<PathBuf, Error> {
    let (dir, to) = (directory(queue), whole(queue));
    let kept = || {
        File::open(&copy)?.sync_all()?;
        copy.persist(&to).map_err(|failed| failed.error)?;
        File::open(&dir)?.sync_all()?;
        // The directory itself may be new.
        match dir.parent().filter(|above| !above.as_os_str().is_empty()) {
            Some(above) => File::open(above)?.sync_all(),
            None => Ok(()),
        }
    };
    kept().map_err(|source| at("keep a copy for", queue, source))?;
    Ok(to)
}

/// Makes the queue what its log says that it is. The log is shortened to where a copy ends as soon as the copy has
/// come, and the queue becomes the copy after that: a process that ended in between left the queue behind its
/// log, and the copy beside it.
///
/// # Errors
/// When a file fails; the copy then stays.
pub fn finish(queue: &Path, journal: &mut Journal, notes: &mut Notes) -> Result<(), Error> {
    let copy = whole(queue);
    if !copy.exists() {
        return Ok(());
    }
    let Some(came) = Pinned::take(&copy)?.replica().cloned() else {
        return Ok(());
    };
    let own = notes.cluster.map(|own| own.to_string());
    let Some(end) = came
        .applied
        .filter(|_| own.is_none_or(|own| own == came.cluster))
    else {
        return Ok(());
    };
    let mut store = Store::open(queue, false)?;
    let index = |replica: Option<Replica>| {
        let applied = replica.and_then(|replica| replica.applied);
        applied.map_or(0, |at| at.index)
    };
    let gone = notes.purged.map_or(0, |purged| purged.index);
    if index(store.replica()?) < gone && gone <= end.index {
        tracing::info!(path = %queue.display(), "takes over a copy of the queue that had come before the last end");
        store.become_file(&copy)?;
    }
    let last = journal.last()?.map_or(gone, |last| last.index);
    if store.replica()?.and_then(|replica| replica.applied) == Some(end) && last < end.index {
        // The other way round: the queue had become the copy, and the log was not shortened yet.
        let purged = log_id(&end);
        journal.edit(&[Edit::DropTo(end.index), to_note(note::PURGED, &purged)])?;
        notes.purged = Some(purged);
    }
    Ok(())
}

/// Removes what an earlier process left.
pub fn clean(queue: &Path) {
    let _ = std::fs::remove_dir_all(directory(queue));
}

/// Returns the error of a file that is part of sending or receiving a copy of the queue at `queue`.
pub fn at(act: &'static str, queue: &Path, source: std::io::Error) -> Error {
    let path = queue.to_owned();
    match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::Full { path },
        _ => Error::Storage {
            act,
            path,
            source: Arc::new(source),
        },
    }
}

/// A copy that is being sent.
pub struct Sending<'p> {
    peer: &'p Peer,
    vote: Vote,
    whole: Whole,
    file: tempfile::TempPath,
}

impl<'p> Sending<'p> {
    /// Writes the copy to a file.
    ///
    /// # Errors
    /// When that fails.
    pub async fn prepare(
        peer: &'p Peer,
        vote: Vote,
        snapshot: Snapshot<Types>,
    ) -> Result<Self, Error> {
        let whole = Whole {
            last: snapshot.meta.last_log_id,
            members: snapshot.meta.last_membership,
            id: snapshot.meta.snapshot_id,
        };
        let queue = peer.local().path().to_owned();
        let written = off_task(peer.local().is_inline(), move || match *snapshot.snapshot {
            Copy::Pinned(view) => {
                let file = empty_file(&queue)?;
                view.write_to(&file)?;
                Ok(file)
            }
            Copy::File(of) => {
                let file = empty_file(&queue)?;
                std::fs::copy(of, &file).map_err(|source| at("make a copy of", &queue, source))?;
                Ok(file)
            }
            Copy::Empty => empty_file(&queue),
        });
        Ok(Self {
            file: written.await?,
            peer,
            vote,
            whole,
        })
    }

    /// Sends it. Returns whom the other side stands by, which may be another leader.
    ///
    /// # Errors
    /// When the other side cannot be reached or does not take it.
    pub async fn run(self) -> Result<Vote, CarryError> {
        let unread =
            |error: std::io::Error| CarryError::Unreachable(format!("read the copy: {error}"));
        let length = self.file.metadata().map_err(unread)?.len();
        let mut file = File::open(&self.file).map_err(unread)?;
        let (sending, mut offset) = (MemberId::random(), 0);
        loop {
            let mut bytes = Vec::with_capacity(PIECE);
            // Half a megabyte that was just written: it is in memory.
            let mut part = (&mut file).take(PIECE as u64);
            part.read_to_end(&mut bytes).map_err(unread)?;
            let is_last = offset + bytes.len() as u64 >= length;
            let piece = Piece {
                vote: self.vote,
                sending,
                offset,
                whole: is_last.then(|| self.whole.clone()),
            };
            let received = self.piece(piece, &bytes).await?;
            if is_last || received.vote > self.vote {
                return Ok(received.vote);
            }
            if received.again {
                let why = "the other side lost what it had";
                return Err(CarryError::Unreachable(why.to_owned()));
            }
            offset += bytes.len() as u64;
        }
    }

    async fn piece(&self, piece: Piece, bytes: &[u8]) -> Result<Received, CarryError> {
        let most = match piece.whole {
            Some(_) => LAST_TRIES,
            None => TRIES,
        };
        let body = wire::message(&self.peer.head(piece), &[bytes]);
        let (mut tries, mut within) = (1, PATIENCE);
        loop {
            match self.peer.ask(Kind::Snapshot, body.clone(), within).await {
                Err(CarryError::Unreachable(_)) if tries < most => {
                    tries += 1;
                    within *= 2;
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }
}
