//! What is known of the log without asking the disk: where each entry is, and the newest ones whole.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use openraft::{EntryPayload, LogState};

use super::Notes;
use crate::queue::engine::raft::types::{Entry, LogId, Types, log_id};
use crate::queue::store::Place;

/// How many bytes of entries stay in memory: enough that members who keep up never ask the disk.
const KEPT: u64 = 8 * 1024 * 1024;

/// The log in memory.
pub struct Recent {
    /// What is noted beside the entries.
    pub notes: Notes,
    /// Every entry's place and length, in order.
    sizes: VecDeque<(LogId, u64)>,
    bytes: u64,
    /// The last entries, without a gap.
    entries: BTreeMap<u64, Entry>,
    kept: u64,
    saved: Option<LogId>,
}

/// Returns how long an entry is.
pub fn length(entry: &Entry) -> u64 {
    match &entry.payload {
        EntryPayload::Blank | EntryPayload::Membership(_) => 64,
        EntryPayload::Normal(batch) => batch.bytes.len() as u64,
    }
}

impl Recent {
    /// Returns the picture of a log that was just opened.
    pub fn new(notes: Notes, sizes: Vec<(Place, u64)>) -> Self {
        let sizes: VecDeque<_> = sizes
            .into_iter()
            .map(|(place, size)| (log_id(&place), size))
            .collect();
        Self {
            bytes: sizes.iter().map(|(_, size)| size).sum(),
            saved: notes.committed,
            notes,
            sizes,
            entries: BTreeMap::new(),
            kept: 0,
        }
    }

    /// Returns where the log begins and ends.
    pub fn state(&self) -> LogState<Types> {
        LogState {
            last_purged_log_id: self.notes.purged,
            last_log_id: self.last().or(self.notes.purged),
        }
    }

    fn last(&self) -> Option<LogId> {
        self.sizes.back().map(|(id, _)| *id)
    }

    /// Returns how many bytes the entries have.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the last entry of those that must go so that what stays has at most `most` bytes.
    pub fn beyond(&self, most: u64) -> Option<u64> {
        let mut stays = 0;
        let mut newest_first = self.sizes.iter().rev();
        newest_first
            .find(|(_, size)| {
                stays += size;
                stays > most
            })
            .map(|(id, _)| id.index)
    }

    /// Takes an entry in, as the last one.
    pub fn push(&mut self, entry: Entry) {
        self.cut_from(entry.log_id.index);
        let size = length(&entry);
        self.sizes.push_back((entry.log_id, size));
        self.bytes += size;
        self.kept += size;
        self.entries.insert(entry.log_id.index, entry);
        // The one just taken stays: it is not on disk yet. Those before it are: openraft waits.
        while self.kept > KEPT && self.entries.len() > 1 {
            if let Some((_, old)) = self.entries.pop_first() {
                self.kept -= length(&old);
            }
        }
    }

    /// Forgets entries from this one on.
    pub fn cut_from(&mut self, index: u64) {
        while let Some((id, size)) = self.sizes.back().copied()
            && id.index >= index
        {
            self.sizes.pop_back();
            self.bytes -= size;
        }
        for gone in self.entries.split_off(&index).values() {
            self.kept -= length(gone);
        }
    }

    /// Forgets entries up to this one.
    pub fn drop_to(&mut self, upto: LogId) {
        while let Some((id, size)) = self.sizes.front().copied()
            && id.index <= upto.index
        {
            self.sizes.pop_front();
            self.bytes -= size;
        }
        let stays = self.entries.split_off(&upto.index.saturating_add(1));
        for gone in self.entries.values() {
            self.kept -= length(gone);
        }
        self.entries = stays;
        if self
            .notes
            .purged
            .is_none_or(|before| before.index < upto.index)
        {
            self.notes.purged = Some(upto);
        }
    }

    /// Returns the entries from `from` on and before `before`, as many as `most` bytes hold but at
    /// least one; before them, which ones of the wanted must be read from disk.
    pub fn entries(&self, from: u64, before: u64, most: u64) -> (Option<Range<u64>>, Vec<Entry>) {
        let (Some((first, _)), Some((last, _))) = (self.sizes.front(), self.sizes.back()) else {
            return (None, Vec::new());
        };
        let from = from.max(first.index);
        let before = before.min(last.index.saturating_add(1));
        if from >= before {
            return (None, Vec::new());
        }
        let known = self.entries.first_key_value();
        let known_from = known.map_or(before, |(index, _)| (*index).min(before));
        let missing = (from < known_from).then_some(from..known_from);
        let mut bytes = 0;
        let entries = self
            .entries
            .range(from.max(known_from)..before)
            .map(|(_, entry)| entry)
            .take_while(|entry| {
                let is_first = bytes == 0;
                bytes += length(entry).max(1);
                is_first || bytes <= most
            })
            .cloned();
        (missing, entries.collect())
    }

    /// Returns up to where the log is agreed on, if the disk does not know it yet.
    pub fn committed_to_save(&mut self) -> Option<LogId> {
        let news = self.notes.committed.filter(|at| Some(*at) != self.saved);
        self.saved = self.notes.committed;
        news
    }
}
