//! A few read-only connections, opened when first needed and used again.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::queue::Error;
use crate::queue::store::Reader;

/// How many idle connections stay open; more readers at once get connections of their own.
const KEPT: usize = 4;

/// The connections that nobody uses just now.
pub struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Reader>>,
}

impl Readers {
    /// Returns an empty stock for the file at `path`.
    pub const fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Reads with a connection of the stock, or a new one.
    ///
    /// # Errors
    /// When the file cannot be opened or read.
    pub fn with<T>(&self, read: impl FnOnce(&Reader) -> Result<T, Error>) -> Result<T, Error> {
        let idle = self.lock().pop();
        let reader = match idle {
            Some(reader) => reader,
            None => Reader::open(&self.path)?,
        };
        let done = read(&reader)?;
        let mut idle = self.lock();
        if idle.len() < KEPT {
            idle.push(reader);
        }
        Ok(done)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
