//! The log of a member of a cluster, in a file of its own beside the queue's: entries that may not be agreed
//! on yet, and what a member must not forget.
//!
//! What is in an entry is not this file's business.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::fault;
use super::open::{beside, version};
use super::replica::Place;
use crate::queue::Error;
use crate::support::paths;

/// The form of the file that this program writes.
const FORM: i64 = 1;

const TABLES: &str = "CREATE TABLE entry (
        place INTEGER PRIMARY KEY,
        term INTEGER NOT NULL,
        node INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE note (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;";

/// A commit is on disk when it returns. Entries are moved out of the file's own log rarely, because
/// most are gone before they would be.
const TUNE: &str = "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4096; \
     PRAGMA journal_size_limit = 33554432;";

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it is.
    pub place: Place,
    /// What its body is.
    pub kind: u8,
    /// What it says.
    pub body: Vec<u8>,
}

/// One change of the log.
pub enum Edit {
    /// An entry comes at the end, or in the place of one that was there.
    Append(Place, u8, Arc<[u8]>),
    /// Entries from this one on go.
    CutFrom(u64),
    /// Entries up to this one go.
    DropTo(u64),
    /// Something is noted, in the place of what was noted under that name.
    Note(&'static str, Option<String>),
}

/// An open log.
pub struct Journal {
    connection: Connection,
    path: PathBuf,
    /// Held alone as long as the log is open: two members in one log would be none.
    _alone: std::fs::File,
}

/// Returns the log of the queue at `queue`.
pub fn path_for(queue: &Path) -> PathBuf {
    beside(queue, "-raft")
}

impl Journal {
    /// Opens the log of the queue at `queue`, and makes it if it is not there.
    ///
    /// # Errors
    /// When somebody has it open, it is newer than this program, or it cannot be read.
    pub fn open(queue: &Path) -> Result<Self, Error> {
        let path = path_for(queue);
        let place = |error| Error::Place(Arc::new(error));
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty())
            && !dir.is_dir()
        {
            paths::create_private_dir(dir).map_err(place)?;
        }
        let alone = paths::append_private(&beside(&path, "-lock")).map_err(place)?;
        alone
            .try_lock()
            .map_err(|_| Error::Busy { path: path.clone() })?;
        if !path.exists() {
            paths::create_private(&path, b"").map_err(place)?;
        }
        let failed = |error| fault::error("open", &path, error);
        let mut connection = Connection::open(&path).map_err(failed)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL")
            .map_err(failed)?;
        connection.execute_batch(TUNE).map_err(failed)?;
        let found = version(&connection).map_err(failed)?;
        if found > FORM {
            return Err(Error::Newer {
                path,
                found,
                known: FORM,
            });
        }
        if found == 0 {
            let tx = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(failed)?;
            tx.execute_batch(TABLES).map_err(failed)?;
            tx.pragma_update(None, "user_version", FORM)
                .map_err(failed)?;
            tx.commit().map_err(failed)?;
        }
        Ok(Self {
            connection,
            path,
            _alone: alone,
        })
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the changes, all or none, in this order. They are on disk when this returns.
    ///
    /// # Errors
    /// When the file fails: nothing is changed then.
    pub fn edit<'e>(&mut self, edits: impl IntoIterator<Item = &'e Edit>) -> Result<(), Error> {
        let path = &self.path;
        let failed = |error| fault::error("write", path, error);
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        for edit in edits {
            make(&tx, edit).map_err(failed)?;
        }
        tx.commit().map_err(failed)
    }

    /// Returns what is noted under this name.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn note(&self, name: &str) -> Result<Option<String>, Error> {
        self.connection
            .prepare_cached("SELECT value FROM note WHERE name = ?1")
            .and_then(|mut statement| statement.query_row([name], |row| row.get(0)).optional())
            .map_err(|error| self.unread(error))
    }

    /// Returns the entries from `from` on and before `before`, as many as `most` bytes hold but at
    /// least one, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn lines(&self, from: u64, before: u64, most: u64) -> Result<Vec<Line>, Error> {
        self.read_lines(from, before, most)
            .map_err(|error| self.unread(error))
    }

    fn read_lines(&self, from: u64, before: u64, most: u64) -> rusqlite::Result<Vec<Line>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT place, term, node, kind, body FROM entry WHERE place >= ?1 AND place < ?2 ORDER BY place",
        )?;
        let mut rows = statement.query(params![from.cast_signed(), bound(before)])?;
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let number = |at| row.get(at).map(i64::cast_unsigned);
            let line = Line {
                place: Place {
                    index: number(0)?,
                    term: number(1)?,
                    node: number(2)?,
                },
                kind: row.get(3)?,
                body: row.get(4)?,
            };
            bytes += line.body.len() as u64;
            if bytes > most && !lines.is_empty() {
                break;
            }
            lines.push(line);
        }
        Ok(lines)
    }

    /// Returns where each entry is and how long it is, in order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn sizes(&self) -> Result<Vec<(Place, u64)>, Error> {
        let read = || -> rusqlite::Result<Vec<_>> {
            self.connection
                .prepare("SELECT place, term, node, length(body) FROM entry ORDER BY place")?
                .query_map([], |row| {
                    let number = |at| row.get(at).map(i64::cast_unsigned);
                    let place = Place {
                        index: number(0)?,
                        term: number(1)?,
                        node: number(2)?,
                    };
                    Ok((place, number(3)?))
                })?
                .collect()
        };
        read().map_err(|error| self.unread(error))
    }

    /// Returns where the last entry is, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn last(&self) -> Result<Option<Place>, Error> {
        self.found(
            "SELECT place, term, node FROM entry ORDER BY place DESC LIMIT ?1",
            1,
        )
    }

    /// Returns in whose term the entry of this index was written, if it is there.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn place(&self, index: u64) -> Result<Option<Place>, Error> {
        self.found(
            "SELECT place, term, node FROM entry WHERE place = ?1",
            bound(index),
        )
    }

    fn found(&self, sql: &str, with: i64) -> Result<Option<Place>, Error> {
        let place = |row: &rusqlite::Row<'_>| {
            let number = |at| row.get(at).map(i64::cast_unsigned);
            Ok(Place {
                index: number(0)?,
                term: number(1)?,
                node: number(2)?,
            })
        };
        let found = self.connection.query_row(sql, [with], place).optional();
        found.map_err(|error| self.unread(error))
    }

    fn unread(&self, error: rusqlite::Error) -> Error {
        fault::error("read", &self.path, error)
    }
}

fn bound(before: u64) -> i64 {
    i64::try_from(before).unwrap_or(i64::MAX)
}

fn make(connection: &Connection, edit: &Edit) -> rusqlite::Result<()> {
    match edit {
        Edit::Append(place, kind, body) => connection
            .prepare_cached(
                "INSERT OR REPLACE INTO entry (place, term, node, kind, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                place.index.cast_signed(),
                place.term.cast_signed(),
                place.node.cast_signed(),
                kind,
                &body[..]
            ]),
        Edit::CutFrom(place) => connection
            .prepare_cached("DELETE FROM entry WHERE place >= ?1")?
            .execute([bound(*place)]),
        Edit::DropTo(place) => connection
            .prepare_cached("DELETE FROM entry WHERE place <= ?1")?
            .execute([bound(*place)]),
        Edit::Note(name, Some(value)) => connection
            .prepare_cached("INSERT OR REPLACE INTO note (name, value) VALUES (?1, ?2)")?
            .execute([*name, value]),
        Edit::Note(name, None) => connection
            .prepare_cached("DELETE FROM note WHERE name = ?1")?
            .execute([name]),
    }
    .map(|_| ())
}
