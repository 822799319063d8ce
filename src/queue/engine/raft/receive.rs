//! Takes messages of other members in and answers them.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use openraft::SnapshotMeta;
use openraft::error::Fatal;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use openraft::storage::Snapshot;
use tokio::sync::Mutex;

use super::fault::Fault;
use super::send::{at, empty_file, keep};
use super::state::{Copy, State};
use super::types::{Raft, Vote};
use super::wire::{self, Append, Head, Piece, Received, Whole};
use super::{Kind, MemberId, off_task};
use crate::queue::error::Error;

/// What takes messages in.
pub struct Inbox {
    /// This member.
    pub id: MemberId,
    /// The engine that they are for.
    pub raft: Raft,
    /// The queue.
    pub state: State,
    /// Copies of another member's queue.
    pub copies: Arc<Mutex<Copies>>,
}

/// Copies of another member's queue that are sent here, one at a time.
#[derive(Default)]
pub struct Copies {
    coming: Option<Coming>,
    /// The last sending whose copy the queue has become.
    done: Option<MemberId>,
}

/// A copy of another member's queue, as far as it has come.
pub struct Coming {
    sending: MemberId,
    file: tempfile::TempPath,
    length: u64,
}

impl Inbox {
    /// Takes a message in and returns the answer.
    ///
    /// # Errors
    /// When it is not for this member, cannot be read, or the engine has died.
    pub async fn receive(&self, kind: Kind, body: &[u8]) -> Result<Vec<u8>, Error> {
        match kind {
            Kind::Append => {
                let (head, behind) = wire::parts::<Append>(body)?;
                let says = self.accept(head)?;
                let entries = wire::entries(says.entries, behind);
                let request = AppendEntriesRequest {
                    vote: says.vote,
                    prev_log_id: says.prev,
                    leader_commit: says.commit,
                    entries: entries.inspect_err(|error| self.outdated(error))?,
                };
                let answer = self.raft.append_entries(request).await;
                Ok(wire::answer(&answer.map_err(|error| died(&error))?))
            }
            Kind::Vote => {
                let (head, _) = wire::parts::<VoteRequest<MemberId>>(body)?;
                let answer = self.raft.vote(self.accept(head)?).await;
                Ok(wire::answer(&answer.map_err(|error| died(&error))?))
            }
            Kind::Snapshot => {
                let (head, behind) = wire::parts::<Piece>(body)?;
                let answer = self.piece(self.accept(head)?, behind).await?;
                Ok(wire::answer(&answer))
            }
        }
    }

    fn accept<T>(&self, head: Head<T>) -> Result<T, Error> {
        if head.to != self.id {
            return Err(Error::NotAMember(format!(
                "this is member {}, not {}: its data was replaced",
                self.id, head.to
            )));
        }
        match (self.state.cluster.get(), head.cluster) {
            (Some(own), Some(other)) if own != other => Err(Error::NotAMember(format!(
                "this member is of cluster {own}, not of {other}"
            ))),
            (Some(own), None) => Err(Error::NotAMember(format!(
                "this member is of cluster {own}, the other one of none"
            ))),
            (_, _) => Ok(head.says),
        }
    }

    /// What a newer member wrote and we cannot read: going on would be to fall behind in silence.
    fn outdated(&self, error: &Error) {
        if matches!(error, Error::Log { .. }) {
            fault_of(&self.state.fault, error);
        }
    }

    async fn piece(&self, piece: Piece, bytes: &[u8]) -> Result<Received, Error> {
        let vote = self.raft.with_raft_state(|state| *state.vote_ref()).await;
        let vote = vote.map_err(|error| died(&error))?;
        if piece.vote < vote {
            return Ok(Received { vote, again: false });
        }
        let mut copies = Arc::clone(&self.copies).lock_owned().await;
        if copies.done == Some(piece.sending) {
            // The answer to the last piece was lost, or came too late.
            return Ok(Received { vote, again: false });
        }
        if !self.write(&mut copies.coming, &piece, bytes).await? {
            return Ok(Received { vote, again: true });
        }
        let Some(whole) = piece.whole else {
            return Ok(Received { vote, again: false });
        };
        let Some(coming) = copies.coming.take() else {
            return Ok(Received { vote, again: true });
        };
        let (raft, state) = (self.raft.clone(), self.state.clone());
        // In a task of its own: it goes on when whoever sent the piece waits no longer, and asks again.
        let installing = tokio::spawn(async move {
            let vote = install(&raft, &state, piece.vote, coming, whole).await?;
            copies.done = Some(piece.sending);
            Ok(Received { vote, again: false })
        });
        installing.await.unwrap_or(Err(Error::Closed))
    }

    /// Puts the bytes behind what has come. Tells whether they belong there.
    async fn write(
        &self,
        copy: &mut Option<Coming>,
        piece: &Piece,
        bytes: &[u8],
    ) -> Result<bool, Error> {
        let queue = self.state.local.path();
        if copy
            .as_ref()
            .is_none_or(|coming| coming.sending != piece.sending)
        {
            if piece.offset != 0 {
                return Ok(false);
            }
            *copy = Some(Coming {
                sending: piece.sending,
                file: empty_file(queue)?,
                length: 0,
            });
        }
        let Some(coming) = copy else {
            return Ok(false);
        };
        // One whose answer was lost comes again.
        if piece.offset > coming.length {
            return Ok(false);
        }
        let (queue, path) = (queue.to_owned(), coming.file.to_path_buf());
        let (offset, bytes) = (piece.offset, bytes.to_vec());
        let length = offset + bytes.len() as u64;
        let put = off_task(self.state.local.is_inline(), move || {
            put(&path, offset, &bytes).map_err(|source| at("write a copy for", &queue, source))
        });
        put.await?;
        // One that comes a second time takes back nothing of what came since.
        coming.length = coming.length.max(length);
        Ok(true)
    }
}

/// Has the queue become the copy that has come.
async fn install(
    raft: &Raft,
    state: &State,
    vote: Vote,
    coming: Coming,
    whole: Whole,
) -> Result<Vote, Error> {
    // On disk first: openraft shortens the log to where the copy ends before the queue has become it.
    let queue = state.local.path().to_owned();
    let keep = move || keep(coming.file, &queue);
    let file = off_task(state.local.is_inline(), keep).await?;
    let snapshot = Snapshot {
        meta: SnapshotMeta {
            last_log_id: whole.last,
            last_membership: whole.members,
            snapshot_id: whole.id,
        },
        snapshot: Box::new(Copy::File(file.clone())),
    };
    let installed = raft.install_full_snapshot(vote, snapshot).await;
    let vote = installed
        .map_err(|error: Fatal<MemberId>| died(&error))?
        .vote;
    // The queue has become it, or was ahead of it.
    let _ = std::fs::remove_file(file);
    Ok(vote)
}

fn put(path: &Path, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

fn fault_of(fault: &Fault, error: &Error) {
    fault.report(crate::support::chain::chain(error));
}

/// Returns the error of an engine that is no more.
pub fn died(error: &dyn std::error::Error) -> Error {
    Error::Died(error.to_string())
}
