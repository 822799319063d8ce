//! The queue as it stood at one moment, while the writer goes on; and a queue made anew from such a copy.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::open::{beside, migrate, open_reader};
use super::replica::{self, Replica};
use super::{Store, fault, schema};
use crate::queue::Error;

/// A view of the queue that stays as it was when it was taken. As long as it is held, what is written
/// meanwhile piles up in the file's log; it should not be held for long.
pub struct Pinned {
    connection: Connection,
    path: PathBuf,
    replica: Option<Replica>,
}

impl Pinned {
    /// Takes a view of the queue at `path`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let failed = |error| fault::error("read", path, error);
        let connection = open_reader(path)?;
        connection.execute_batch("BEGIN").map_err(failed)?;
        // The first read decides which moment it is.
        let replica = replica::read(&connection).map_err(failed)?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            replica,
        })
    }

    /// Returns how far the queue had come.
    pub const fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref()
    }

    /// Writes the whole queue into the file `to`, which is empty or not there.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub fn write_to(&self, to: &Path) -> Result<(), Error> {
        let failed = |error| fault::error("copy", &self.path, error);
        let mut copy = Connection::open(to).map_err(failed)?;
        // Whoever makes it throws it away if it is not whole.
        copy.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF")
            .map_err(failed)?;
        transfer(&self.connection, &mut copy).map_err(failed)
    }
}

fn transfer(from: &Connection, to: &mut Connection) -> rusqlite::Result<()> {
    let backup = Backup::new(from, to)?;
    loop {
        match backup.step(-1)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            // Somebody else has the file: as long as a write of ours would wait.
            _ => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    }
}

impl Store {
    /// Makes this queue the same as `copy`. Readers go on meanwhile with what they see, and see the
    /// other afterwards.
    ///
    /// # Errors
    /// When reading or writing fails: this queue is then as it was.
    pub fn become_view(&mut self, copy: &Pinned) -> Result<(), Error> {
        self.become_other(&copy.connection)
    }

    /// Makes this queue the same as the one in the file `copy`, which may be of an older schema.
    ///
    /// # Errors
    /// When the copy is newer than this program or damaged, or reading or writing fails: this
    /// queue is then as it was.
    pub fn become_file(&mut self, copy: &Path) -> Result<(), Error> {
        let failed = |error| fault::error("open", copy, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(copy, flags).map_err(failed)?;
        migrate(&mut connection, copy, &schema::STEPS)?;
        self.become_other(&connection)
    }

    fn become_other(&mut self, other: &Connection) -> Result<(), Error> {
        // Statements that are kept would not let go of the old tables.
        self.connection.flush_prepared_statement_cache();
        transfer(other, &mut self.connection)
            .map_err(|error| fault::error("write", &self.path, error))?;
        sync(&self.path)?;
        self.checkpoint();
        Ok(())
    }
}

/// Sees to it that everything that was committed to the queue at `path` is on disk.
///
/// # Errors
/// When that fails.
pub fn sync(path: &Path) -> Result<(), Error> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::Full {
            path: path.to_owned(),
        },
        _ => Error::Storage {
            act: "sync",
            path: path.to_owned(),
            source: Arc::new(source),
        },
    };
    // What is not in the file's log was synced when it was moved into the file itself.
    match File::open(beside(path, "-wal")) {
        Ok(log) => log.sync_all().map_err(failed)?,
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(failed)?;
    }
    Ok(())
}
