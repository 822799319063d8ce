//! What is kept for one reader of logs until it takes it. Bounded: who is too slow is dropped.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::Source;

/// How many bytes wait for one reader at most.
pub const ROOM: usize = 1 << 20;

/// One thing for a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Output.
    Bytes(Source, Bytes),
    /// Nothing more comes from there.
    End(Source),
}

#[derive(Debug, Default)]
struct Held {
    words: VecDeque<Word>,
    bytes: usize,
    slow: bool,
}

/// The words that wait for one reader.
#[derive(Debug, Default)]
pub struct Inbox {
    held: Mutex<Held>,
    news: Notify,
    room: Notify,
}

impl Inbox {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a word. One for which there is no room is dropped, and so is all that comes after it: there must be no
    /// gap that nobody sees.
    pub fn push(&self, word: Word) {
        let mut held = self.held();
        let length = match &word {
            Word::Bytes(_, bytes) => bytes.len(),
            Word::End(_) => 0,
        };
        held.slow |= held.bytes > 0 && held.bytes + length > ROOM;
        if !held.slow {
            held.bytes += length;
            held.words.push_back(word);
        }
        drop(held);
        self.news.notify_waiters();
    }

    /// Takes all that waits. The second value tells that something was dropped, after which nothing comes.
    pub fn take(&self) -> (VecDeque<Word>, bool) {
        let mut held = self.held();
        held.bytes = 0;
        let taken = (std::mem::take(&mut held.words), held.slow);
        drop(held);
        self.room.notify_waiters();
        taken
    }

    /// Tells whether `length` more bytes would be taken, or do not matter any more.
    pub fn has_room(&self, length: usize) -> bool {
        let held = self.held();
        held.slow || held.bytes == 0 || held.bytes + length <= ROOM
    }

    /// Returns what becomes ready at the next word. Enable it before looking.
    pub fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// Returns what becomes ready when something is taken. Enable it before looking.
    pub fn room(&self) -> Notified<'_> {
        self.room.notified()
    }
}
