//! Whole copies of the file: out of it while others write, and back where there is nothing yet.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::open::{beside, open_reader, size_of, version};
use super::{fault, prune, schema};
use crate::queue::Error;
use crate::queue::command::{Prune, Pruned};
use crate::support::clock::Timestamp;
use crate::support::paths;

/// What keeps a copy from being made or put back.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It would overwrite something. Trying again does not help.
    #[error("there is something in {} already", path.display())]
    NotEmpty {
        /// The file.
        path: PathBuf,
    },
    /// The file is no copy of a queue. Trying again does not help.
    #[error("{} is no backup of a queue: {why}", path.display())]
    NoBackup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The queue's file is the problem.
    #[error(transparent)]
    Queue(#[from] Error),
}

/// Copies the queue at `from` into the file `to`, as it stands at one moment. Returns how long the copy is.
///
/// Writers go on meanwhile: the copy is read from a snapshot. The copy needs no side files.
///
/// # Errors
/// When there is something at `to`, `from` is no queue, or reading or writing fails. Nothing is left at
/// `to` then.
pub fn back_up(from: &Path, to: &Path) -> Result<u64, CopyError> {
    refuse_full(to)?;
    let connection = open_reader(from)?;
    let found = version(&connection).map_err(|error| fault::error("read", from, error))?;
    check_version(found, from)?;
    let bytes = put(to, |temporary| {
        let place = temporary.to_str().ok_or_else(|| Error::Storage {
            act: "write a copy of",
            path: from.to_owned(),
            source: Arc::new(std::io::Error::other("the path is not UTF-8")),
        })?;
        connection
            .execute("VACUUM INTO ?1", [place])
            .map_err(|error| fault::error("copy", from, error))?;
        Ok(())
    })?;
    Ok(bytes)
}

/// Makes the queue at `to` from the backup `from`. Returns how long it is.
///
/// # Errors
/// When there is something at `to` or somebody has it open, `from` is no sound backup of a queue, or
/// reading or writing fails. What was at `to` is then untouched.
pub fn restore(from: &Path, to: &Path) -> Result<u64, CopyError> {
    refuse_full(to)?;
    if let Some(dir) = to.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        paths::create_private_dir(dir).map_err(|error| Error::Place(Arc::new(error)))?;
    }
    // Held until the file is in place, so that no coordinator opens the empty one meanwhile.
    let presence = paths::append_private(&beside(to, "-lock"))
        .map_err(|error| Error::Place(Arc::new(error)))?;
    presence.try_lock().map_err(|_| Error::Busy {
        path: to.to_owned(),
    })?;
    check_backup(from)?;
    let bytes = put(to, |temporary| {
        fs::copy(from, temporary)
            .map(|_| ())
            .map_err(storage("copy", from))
    })?;
    Ok(bytes)
}

/// Returns what pruning the queue at `path` by `rule` would remove in all its steps. Changes nothing.
///
/// # Errors
/// When the file cannot be read or is not of this program's schema.
pub fn would_prune(path: &Path, now: Timestamp, rule: &Prune) -> Result<Pruned, CopyError> {
    let connection = open_reader(path)?;
    let failed = |error| fault::error("read", path, error);
    check_version(version(&connection).map_err(failed)?, path)?;
    Ok(prune::count(&connection, now, rule).map_err(failed)?)
}

/// A backup is one sound file of a schema that this program can open.
fn check_backup(from: &Path) -> Result<(), CopyError> {
    if size_of(&beside(from, "-wal")) > 0 {
        return Err(CopyError::NoBackup {
            path: from.to_owned(),
            why: "it is a queue in use, part of it is in its -wal file; make a backup of it first",
        });
    }
    let failed = |error| fault::error("read", from, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(from, flags).map_err(failed)?;
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(failed)?;
    if found != "ok" {
        return Err(Error::Damaged {
            path: from.to_owned(),
            detail: found,
        }
        .into());
    }
    check_version(version(&connection).map_err(failed)?, from)
}

fn check_version(found: i64, path: &Path) -> Result<(), CopyError> {
    let newest = i64::try_from(schema::STEPS.len()).unwrap_or(i64::MAX);
    match found {
        0 => Err(CopyError::NoBackup {
            path: path.to_owned(),
            why: "there is no queue in it",
        }),
        found if found > newest => Err(Error::Newer {
            path: path.to_owned(),
            found,
            known: newest,
        }
        .into()),
        _ => Ok(()),
    }
}

fn refuse_full(path: &Path) -> Result<(), CopyError> {
    let full = size_of(path) > 0 || size_of(&beside(path, "-wal")) > 0;
    match full {
        true => Err(CopyError::NotEmpty {
            path: path.to_owned(),
        }),
        false => Ok(()),
    }
}

/// Has `make` fill a private file beside `to`, then puts it in the place of `to`, whole and on disk.
pub(super) fn put(to: &Path, make: impl FnOnce(&Path) -> Result<(), Error>) -> Result<u64, Error> {
    let dir = match to.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    // Private from the start; SQLite fills an empty file without changing whose it is.
    let temporary = tempfile::NamedTempFile::new_in(&dir).map_err(storage("write in", &dir))?;
    make(temporary.path())?;
    // The copy was not synced by whoever made it.
    let file = File::open(temporary.path()).map_err(storage("sync", to))?;
    file.sync_all().map_err(storage("sync", to))?;
    let bytes = size_of(temporary.path());
    // An empty file in the way was looked at above; one that came since must stay.
    let _ = (size_of(to) == 0).then(|| fs::remove_file(to));
    temporary
        .persist_noclobber(to)
        .map_err(|failed| storage("write", to)(failed.error))?;
    let synced = File::open(&dir).and_then(|dir| dir.sync_all());
    synced.map_err(storage("sync", &dir))?;
    Ok(bytes)
}

fn storage(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::Full { path },
        _ => Error::Storage {
            act,
            path,
            source: Arc::new(source),
        },
    }
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
