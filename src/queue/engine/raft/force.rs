//! The last survivor goes on alone: offline, because a majority that is only away would decide otherwise.

use std::path::Path;

use openraft::EntryPayload;

use super::begin::Begin;
use super::life::open_log;
use super::log::{self, Notes, note, to_note};
use super::state::applied;
use super::types::{Entry, Members};
use super::{ClusterId, Member, MemberId, format, send};
use crate::queue::error::Error;
use crate::queue::store::{self, Edit, Journal, Replay, Store};

/// How many bytes of entries are applied at once.
const STEP: u64 = 4 * 1024 * 1024;

/// What [`force_new_cluster`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forced {
    /// The only member of the new cluster.
    pub id: MemberId,
    /// The new cluster.
    pub cluster: ClusterId,
    /// The members that are no longer any.
    pub dropped: Vec<(MemberId, Member)>,
    /// How many entries of the log were applied that this member did not know to be agreed on.
    pub adopted: u64,
    /// The last entry that is part of its state.
    pub applied: u64,
}

/// Makes the queue at `path`, which nobody may have open, the only member of a new cluster, with
/// everything that it has. For the last survivor of a cluster that lost its majority for good.
///
/// What its log holds and was not known to be agreed on is taken as agreed on: it may have been, and
/// somebody may have been told so.
///
/// # Errors
/// When it is in no cluster, is open, or its files fail.
pub fn force_new_cluster(path: &Path) -> Result<Forced, Error> {
    let opened = open_log(path)?.filter(|(_, notes)| notes.is_member());
    let Some((mut journal, mut notes)) = opened else {
        return Err(Error::NotAMember(format!(
            "the queue {} is in no cluster",
            path.display()
        )));
    };
    finish(path, &mut journal, &mut notes)?;
    send::finish(path, &mut journal, &mut notes)?;
    let store = Store::open(path, true)?;
    let replica = store.replica()?;
    notes.check(&journal, path, replica.as_ref())?;
    let odd = |detail: String| Error::Log {
        path: store::journal_of(path),
        detail,
    };
    let (last, members) = applied(replica.as_ref()).map_err(odd)?;
    let from = last.map_or(0, |at| at.index + 1);
    let adopted = adopt(&store, &journal, &notes, from)?;
    let members = adopted.members.unwrap_or(members);
    let everybody = members.nodes().map(|(id, member)| (*id, member.clone()));
    let (own, dropped): (Vec<_>, Vec<_>) = everybody.partition(|(id, _)| Some(*id) == notes.member);
    let Some((id, me)) = own.into_iter().next() else {
        return Err(Error::NotAMember(format!(
            "the queue {} was removed from its cluster, or had not come to know it",
            path.display()
        )));
    };
    let replica = store.replica()?;
    let (applied, _) = applied(replica.as_ref()).map_err(odd)?;
    let index = applied.map_or(0, |at| at.index) + 1;
    let terms = [
        notes.vote.map_or(0, |vote| vote.leader_id.term),
        applied.map_or(0, |at| at.leader_id.term),
    ];
    let term = terms.into_iter().max().unwrap_or(0) + 1;
    let begin = Begin::after(id, me, ClusterId::random(), (term, index));
    journal.edit(&[to_note(note::FORCING, &begin)])?;
    let now = replica.map(|replica| replica.now).unwrap_or_default();
    store.set_replica(&begin.replica(now))?;
    begun(&mut journal, &begin)?;
    Ok(Forced {
        id,
        cluster: begin.cluster,
        dropped,
        adopted: adopted.entries,
        applied: index,
    })
}

/// Goes on with what a process that ended in the middle of [`force_new_cluster`] had begun. Queue and log are two files:
/// by then one may be of the new cluster and the other of the old one.
///
/// # Errors
/// When a file fails.
pub fn finish(queue: &Path, journal: &mut Journal, notes: &mut Notes) -> Result<(), Error> {
    let Some(begin) = log::noted::<Begin>(journal, note::FORCING)? else {
        return Ok(());
    };
    tracing::info!(path = %queue.display(), "goes on with becoming a cluster of its own, which was cut short");
    let store = Store::open(queue, true)?;
    let replica = store.replica()?;
    let now = replica.map(|replica| replica.now).unwrap_or_default();
    store.set_replica(&begin.replica(now))?;
    begun(journal, &begin)?;
    *notes = Notes::read(journal)?;
    Ok(())
}

fn begun(journal: &mut Journal, begin: &Begin) -> Result<(), Error> {
    let mut edits = begin.edits();
    edits.push(Edit::Note(note::FORCING, None));
    journal.edit(&edits)
}

#[derive(Default)]
struct Adopted {
    entries: u64,
    members: Option<Members>,
}

fn adopt(store: &Store, journal: &Journal, notes: &Notes, from: u64) -> Result<Adopted, Error> {
    let mut next = from;
    let mut adopted = Adopted::default();
    let known = notes.committed.map_or(0, |at| at.index);
    loop {
        let lines = journal.lines(next, u64::MAX, STEP)?;
        let Some(last) = lines.last().map(|line| line.place) else {
            return Ok(adopted);
        };
        let mut replay = Replay {
            entries: Vec::with_capacity(lines.len()),
            upto: last,
            members: None,
        };
        for line in lines {
            let entry: Entry = log::entry(line, || journal.path().to_owned())?;
            let index = entry.log_id.index;
            adopted.entries += u64::from(index > known);
            replay.entries.push(match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Normal(batch) => {
                    format::read(&batch.bytes).map_err(|what| Error::Log {
                        path: journal.path().to_owned(),
                        detail: format!("entry {index} {what}"),
                    })?
                }
                EntryPayload::Membership(members) => {
                    let members = Members::new(Some(entry.log_id), members);
                    // Numbers and texts of ours: they have a form.
                    replay.members = serde_json::to_string(&members).ok();
                    adopted.members = Some(members);
                    Vec::new()
                }
            });
        }
        store.replay(&replay)?;
        next = last.index + 1;
    }
}
