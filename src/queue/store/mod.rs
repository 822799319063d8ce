//! The queue in one SQLite file. The only place that speaks SQL.

mod apply;
mod attempts;
mod backup;
mod claim;
mod due;
mod fault;
mod hash;
mod hosts;
mod invariants;
mod journal;
mod keys;
mod legacy;
mod logs;
mod needs;
mod open;
mod pinned;
mod prune;
mod read;
mod replica;
mod retry;
mod row;
mod schema;
mod services;
mod submit;
mod take_over;
mod tx;
mod view;

use std::borrow::Borrow;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub use apply::Applied;
pub use backup::{CopyError, back_up, restore, would_prune};
#[cfg(test)]
pub use invariants::check as check_invariants;
#[doc(hidden)]
pub use invariants::what_is_broken;
pub use journal::{Edit, Journal, Line, path_for as journal_of};
pub use pinned::{Pinned, sync};
pub use read::{Cursor, JobFilter, JobView, Page, Reader};
pub use replica::{Place, Replay, Replayed, Replica};

use super::Error;
use super::command::Envelope;
use super::engine::Change;
use tx::Tx;

/// The write side of the file.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Dropped after the connection: others may look the file over only when it is closed.
    _presence: File,
}

/// What came of a batch.
#[derive(Default)]
pub struct Batch {
    /// One answer per command, in order.
    pub answers: Vec<Result<Applied, Error>>,
    /// What changed, to be told to whoever listens.
    pub changes: Vec<Change>,
}

impl Store {
    /// Opens the file at `path`, or makes it.
    ///
    /// # Errors
    /// When the place cannot be made, or the file is newer, damaged, locked or unreadable.
    pub fn open(path: &Path, check_always: bool) -> Result<Self, Error> {
        let opened = open::open(path, check_always)?;
        Ok(Self {
            connection: opened.connection,
            path: path.to_owned(),
            _presence: opened.presence,
        })
    }

    /// Applies the commands in one transaction and commits it once. While the transaction is open,
    /// `more` may add commands to `batch`; the commit comes when it has none.
    ///
    /// A command that contradicts the file (say, an id that is taken) must not take its neighbours
    /// with it. That is rare, so nothing is spent on it up front: the transaction is rolled back
    /// and each command gets its own. A fault of ours in one of them costs no more than that either:
    /// there is one writer, and nobody could write any more without it.
    pub fn run<T: Borrow<Envelope>>(
        &self,
        batch: &mut Vec<T>,
        more: impl FnMut(usize) -> Option<T>,
    ) -> Batch {
        match self.guarded(|| self.together(batch, more)) {
            Ok(done) => done,
            Err(error) if batch.len() > 1 && fault::is_of_one_command(&error) => {
                let mut all = Batch::default();
                for one in batch.iter() {
                    let done = self.guarded(|| {
                        let mut alone = vec![one.borrow()];
                        self.together(&mut alone, |_| None)
                    });
                    let done = done.unwrap_or_else(|error| self.failed(1, error));
                    all.answers.extend(done.answers);
                    all.changes.extend(done.changes);
                }
                all
            }
            Err(error) => self.failed(batch.len(), error),
        }
    }

    fn failed(&self, commands: usize, error: rusqlite::Error) -> Batch {
        let error = fault::error("write", &self.path, error);
        Batch {
            answers: (0..commands).map(|_| Err(error.clone())).collect(),
            changes: Vec::new(),
        }
    }

    fn guarded<D>(&self, work: impl FnOnce() -> rusqlite::Result<D>) -> rusqlite::Result<D> {
        let done = caught(work);
        // What the work left behind is in the transaction, which goes.
        if matches!(done, Err(rusqlite::Error::UnwindingPanic)) {
            self.roll_back();
        }
        done
    }

    fn together<T: Borrow<Envelope>>(
        &self,
        batch: &mut Vec<T>,
        more: impl FnMut(usize) -> Option<T>,
    ) -> rusqlite::Result<Batch> {
        self.statement("BEGIN IMMEDIATE")?;
        let done = self.apply_all(batch, more).and_then(|done| {
            self.statement("COMMIT")?;
            Ok(done)
        });
        if done.is_err() {
            self.roll_back();
        }
        done
    }

    fn roll_back(&self) {
        // SQLite has rolled back by itself after some failures; then there is nothing to do.
        if !self.connection.is_autocommit() {
            let _ = self.statement("ROLLBACK");
        }
    }

    fn apply_all<T: Borrow<Envelope>>(
        &self,
        batch: &mut Vec<T>,
        mut more: impl FnMut(usize) -> Option<T>,
    ) -> rusqlite::Result<Batch> {
        let mut tx = Tx::new(&self.connection);
        let mut answers = Vec::with_capacity(batch.len());
        loop {
            for one in batch.iter().skip(answers.len()) {
                answers.push(Ok(apply::apply(&mut tx, one.borrow())?));
            }
            match more(batch.len()) {
                Some(one) => batch.push(one),
                None => break,
            }
        }
        Ok(Batch {
            answers,
            changes: tx.changes,
        })
    }

    fn statement(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(|_| ())
    }

    /// Moves what was written into the main file and empties the log. Skipped when somebody reads
    /// or writes just now: it only saves space, and nobody should wait for it.
    pub fn checkpoint(&mut self) {
        let _ = self.connection.busy_handler(None::<fn(i32) -> bool>);
        let _ = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        let _ = self.connection.busy_handler(Some(open::wait_for_others));
    }
}

/// Makes an error of a panic.
fn caught<D>(work: impl FnOnce() -> rusqlite::Result<D>) -> rusqlite::Result<D> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|_| {
        tracing::error!("a command of the queue panicked; nothing of it is kept");
        Err(rusqlite::Error::UnwindingPanic)
    })
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
