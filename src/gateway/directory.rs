//! The table in use, handed to readers without a lock: each keeps its own copy of the pointer and asks one counter
//! whether it is still the newest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::table::Table;
use crate::protocol::api::ServiceRecord;

/// Where the table is.
#[derive(Debug)]
pub struct Directory {
    table: Mutex<Arc<Table>>,
    version: AtomicU64,
    changed: watch::Sender<u64>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            table: Mutex::default(),
            version: AtomicU64::new(0),
            changed: watch::Sender::new(0),
        }
    }
}

impl Directory {
    /// Puts the table of this list in the place of the one before.
    pub fn update(&self, list: &[ServiceRecord]) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Table::after(&table, list);
        table.retire_absent(&next);
        *table = Arc::new(next);
        let version = self.version.fetch_add(1, Ordering::Release) + 1;
        drop(table);
        self.changed.send_replace(version);
    }

    /// Returns the table that is in use now.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns what is told after each update, with the number of updates so far.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// One thread's view of a directory.
#[derive(Debug)]
pub struct Reader {
    directory: Arc<Directory>,
    version: u64,
    table: Arc<Table>,
}

impl Reader {
    /// Returns a view of `directory`.
    pub fn of(directory: &Arc<Directory>) -> Self {
        Self {
            version: directory.version.load(Ordering::Acquire),
            table: directory.table(),
            directory: Arc::clone(directory),
        }
    }

    /// Returns the newest table. Takes a lock only after it has changed.
    pub fn table(&mut self) -> &Arc<Table> {
        let newest = self.directory.version.load(Ordering::Acquire);
        if newest != self.version {
            // In this order: a change in between is only looked at once more.
            self.version = newest;
            self.table = self.directory.table();
        }
        &self.table
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::record;
    use super::*;

    #[test]
    fn readers_see_the_newest_table_and_share_it() {
        let directory = Arc::new(Directory::default());
        let (mut one, mut other) = (Reader::of(&directory), Reader::of(&directory));
        assert!(one.table().find("api").is_none());
        directory.update(&[record("svc_1", "api", &[])]);
        assert!(one.table().find("api").is_some());
        let first = Arc::clone(one.table());
        assert!(Arc::ptr_eq(&first, other.table()));
        assert!(Arc::ptr_eq(&first, one.table()));
        directory.update(&[]);
        assert!(one.table().find("api").is_none());
        assert_eq!(*directory.changes().borrow(), 2);
    }
}
