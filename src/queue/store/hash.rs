//! One number for everything in the file, to see whether two copies are the same.

use rusqlite::types::ValueRef;
use sha2::{Digest, Sha256};

use super::{Store, fault};
use crate::queue::Error;

/// Every table that holds the queue itself and the order in which it is read. What is not here
/// belongs to one member only.
const TABLES: [(&str, &str); 11] = [
    ("job", "SELECT * FROM job ORDER BY seq"),
    ("long_payload", "SELECT * FROM long_payload ORDER BY job"),
    ("attempt", "SELECT * FROM attempt ORDER BY key"),
    ("grp", "SELECT * FROM grp ORDER BY seq"),
    ("idempotency", "SELECT * FROM idempotency ORDER BY key"),
    ("stray", "SELECT * FROM stray ORDER BY key"),
    ("host", "SELECT * FROM host ORDER BY id"),
    ("service", "SELECT * FROM service ORDER BY id"),
    ("setting", "SELECT * FROM setting ORDER BY name"),
    ("log", "SELECT * FROM log ORDER BY number"),
    ("log_end", "SELECT * FROM log_end ORDER BY job"),
];

impl Store {
    /// Returns a hash over all tables.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn hash(&self) -> Result<[u8; 32], Error> {
        self.hashed()
            .map_err(|error| fault::error("read", &self.path, error))
    }

    fn hashed(&self) -> rusqlite::Result<[u8; 32]> {
        let mut hash = Sha256::new();
        for (table, sql) in TABLES {
            hash.update(table.as_bytes());
            let mut statement = self.connection.prepare(sql)?;
            let columns = statement.column_count();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                for column in 0..columns {
                    let (kind, length) = match row.get_ref(column)? {
                        ValueRef::Null => (0u8, 0),
                        ValueRef::Integer(_) | ValueRef::Real(_) => (1, 8),
                        ValueRef::Text(bytes) => (2, bytes.len()),
                        ValueRef::Blob(bytes) => (3, bytes.len()),
                    };
                    // With its length: two short values must not look like one long one.
                    hash.update([kind]);
                    hash.update((length as u64).to_be_bytes());
                    match row.get_ref(column)? {
                        ValueRef::Null => {}
                        ValueRef::Integer(number) => hash.update(number.to_be_bytes()),
                        ValueRef::Real(number) => hash.update(number.to_be_bytes()),
                        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => hash.update(bytes),
                    }
                }
            }
        }
        Ok(hash.finalize().into())
    }

    /// Tells whether nothing is in the file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn is_empty(&self) -> Result<bool, Error> {
        for (_, sql) in TABLES {
            let found = self
                .connection
                .prepare(sql)
                .and_then(|mut statement| statement.exists([]));
            if found.map_err(|error| fault::error("read", &self.path, error))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
