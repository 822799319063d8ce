//! The queue in one SQLite file. The only place that speaks SQL.

mod apply;
mod attempts;
mod claim;
mod fault;
mod keys;
mod needs;
mod open;
mod prune;
mod read;
mod row;
mod schema;
mod tx;

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub use apply::Applied;
pub use read::{Cursor, JobFilter, JobView, Page, Reader};

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

    /// Applies the commands in one transaction and commits it once.
    ///
    /// A command that contradicts the file (say, an id that is taken) must not take its neighbours
    /// with it. That is rare, so nothing is spent on it up front: the transaction is rolled back
    /// and each command gets its own.
    pub fn run(&self, batch: &[&Envelope]) -> Batch {
        match self.together(batch) {
            Ok(done) => done,
            Err(error) if batch.len() > 1 && fault::is_of_one_command(&error) => {
                let mut all = Batch {
                    answers: Vec::with_capacity(batch.len()),
                    changes: Vec::new(),
                };
                for one in batch {
                    let done = self.together(&[*one]).unwrap_or_else(|error| Batch {
                        answers: vec![Err(fault::error("write", &self.path, error))],
                        changes: Vec::new(),
                    });
                    all.answers.extend(done.answers);
                    all.changes.extend(done.changes);
                }
                all
            }
            Err(error) => {
                let error = fault::error("write", &self.path, error);
                Batch {
                    answers: batch.iter().map(|_| Err(error.clone())).collect(),
                    changes: Vec::new(),
                }
            }
        }
    }

    fn together(&self, batch: &[&Envelope]) -> rusqlite::Result<Batch> {
        self.statement("BEGIN IMMEDIATE")?;
        let mut tx = Tx::new(&self.connection);
        let done = batch
            .iter()
            .map(|envelope| apply::apply(&mut tx, envelope))
            .collect::<rusqlite::Result<Vec<_>>>()
            .and_then(|answers| {
                self.statement("COMMIT")?;
                Ok(answers)
            });
        match done {
            Ok(answers) => Ok(Batch {
                answers: answers.into_iter().map(Ok).collect(),
                changes: tx.changes,
            }),
            Err(error) => {
                // SQLite has rolled back by itself after some failures; then there is nothing to do.
                if !self.connection.is_autocommit() {
                    let _ = self.statement("ROLLBACK");
                }
                Err(error)
            }
        }
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
