//! Opens the file: private, in WAL mode, at the newest schema, and looked over if it may have been hurt.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{fault, legacy, schema};
use crate::queue::Error;
use crate::support::paths;

/// How long a writer waits for another process.
const BUSY_MILLIS: i32 = 5_000;

/// A file up to this size is checked after an unclean end without being asked: that takes milliseconds.
const SMALL: u64 = 8 * 1024 * 1024;

/// A commit is on disk when it returns; the log gives back what it took beyond 64 MiB. 16 MiB of
/// pages hold the busy ends of every index of a queue of some hundred thousand jobs.
const TUNE_WRITER: &str = "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864; \
     PRAGMA cache_size = -16384;";

/// The write connection, and the mark that tells other processes that somebody is at work.
pub struct Opened {
    /// The connection.
    pub connection: Connection,
    /// Held shared as long as the file is open; whoever gets it alone knows that nobody else is in.
    pub presence: File,
}

/// Opens the file at `path`, makes it if it is not there, and brings it to the newest schema.
///
/// # Errors
/// When the place cannot be made, or the file is newer, damaged, locked or unreadable.
pub fn open(path: &Path, check_always: bool) -> Result<Opened, Error> {
    let (presence, alone) = prepare(path)?;
    let failed = |source| open_error(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    let hurt = alone && size_of(&beside(path, "-wal")) > 0;
    tune(&connection).map_err(failed)?;
    connection
        .busy_handler(Some(wait_for_others))
        .map_err(failed)?;
    migrate(&mut connection, path, &schema::STEPS)?;
    connection.execute_batch(TUNE_WRITER).map_err(failed)?;
    if check_always || (hurt && size_of(path) <= SMALL) {
        quick_check(&connection, path)?;
    }
    share(&presence, path)?;
    Ok(Opened {
        connection,
        presence,
    })
}

/// Opens a connection that can only read.
///
/// # Errors
/// When the file cannot be opened.
pub fn open_reader(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|source| open_error(path, source))?;
    tune(&connection).map_err(|source| open_error(path, source))?;
    Ok(connection)
}

fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_millis(BUSY_MILLIS as u64))?;
    connection.set_prepared_statement_cache_capacity(64);
    // One plan per statement: without this, a statement whose bound state could meet the condition
    // of a partial index is planned again at every call, which costs more than running it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Waits in short, even steps: SQLite's own waits grow to a tenth of a second, and a process that
/// writes without pause would then shut the others out.
pub fn wait_for_others(tries: i32) -> bool {
    std::thread::sleep(Duration::from_millis(1));
    tries < BUSY_MILLIS
}

fn prepare(path: &Path) -> Result<(File, bool), Error> {
    let place = |error| Error::Place(Arc::new(error));
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty())
        && !dir.is_dir()
    {
        paths::create_private_dir(dir).map_err(place)?;
    }
    if !path.exists() {
        // Made before SQLite sees it, because its side files take over these permissions.
        paths::create_private(path, b"").map_err(place)?;
    }
    let presence = paths::append_private(&beside(path, "-lock")).map_err(place)?;
    let alone = presence.try_lock().is_ok();
    if !alone {
        share(&presence, path)?;
    }
    Ok((presence, alone))
}

fn share(presence: &File, path: &Path) -> Result<(), Error> {
    presence.lock_shared().map_err(|source| Error::Open {
        path: path.to_owned(),
        source: Arc::new(source),
    })
}

/// Brings the file to the version after the last of `steps`.
pub(super) fn migrate(
    connection: &mut Connection,
    path: &Path,
    steps: &[&str],
) -> Result<(), Error> {
    let failed = |source| open_error(path, source);
    let newest = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    let found = version(connection).map_err(failed)?;
    refuse_newer(found, newest, path)?;
    if found == newest {
        return Ok(());
    }
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        .map_err(failed)?;
    let copy = match found == 0 && legacy::is_one(connection).map_err(failed)? {
        true => Some(legacy::keep_copy(connection, path)?),
        false => None,
    };
    let tx = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    // Another process may have done it while this one waited for the lock.
    let found = version(&tx).map_err(failed)?;
    refuse_newer(found, newest, path)?;
    let done = usize::try_from(found).unwrap_or(0);
    let is_legacy = found == 0 && copy.is_some();
    if is_legacy {
        legacy::set_aside(&tx).map_err(failed)?;
    }
    for step in steps.iter().skip(done) {
        tx.execute_batch(step).map_err(failed)?;
    }
    let taken = match is_legacy {
        true => legacy::take_over(&tx).map_err(failed)?,
        false => crate::queue::command::TakenOver::default(),
    };
    tx.pragma_update(None, "user_version", newest)
        .map_err(failed)?;
    tx.commit().map_err(failed)?;
    if let Some(copy) = copy.filter(|_| is_legacy) {
        legacy::announce(path, &copy, taken);
    }
    Ok(())
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn refuse_newer(found: i64, newest: i64, path: &Path) -> Result<(), Error> {
    if found > newest {
        return Err(Error::Newer {
            path: path.to_owned(),
            found,
            known: newest,
        });
    }
    Ok(())
}

fn quick_check(connection: &Connection, path: &Path) -> Result<(), Error> {
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|source| open_error(path, source))?;
    if found == "ok" {
        return Ok(());
    }
    Err(Error::Damaged {
        path: path.to_owned(),
        detail: found,
    })
}

fn open_error(path: &Path, source: rusqlite::Error) -> Error {
    fault::error("open", path, source)
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn size_of(path: &Path) -> u64 {
    path.metadata().map_or(0, |found| found.len())
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
