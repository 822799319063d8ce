//! Whether the queue can be written.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::queue::Error;

/// Remembers whether the last write failed for a reason that the next one will meet too.
#[derive(Debug, Default)]
pub struct Storage(AtomicBool);

impl Storage {
    /// Takes note of a failure.
    pub fn failed(&self, error: &Error) {
        match error {
            Error::Full { .. }
            | Error::Storage { .. }
            | Error::Damaged { .. }
            | Error::Open { .. }
            | Error::Place(_)
            | Error::Newer { .. }
            | Error::IsMember { .. }
            | Error::Log { .. }
            | Error::Died(_)
            | Error::Closed => self.0.store(true, Ordering::Relaxed),
            // Of one request, or gone by itself.
            Error::Invalid(_)
            | Error::NoSuchGroup(_)
            | Error::KeyConflict(_)
            | Error::IdInUse(_)
            | Error::NotLeader { .. }
            | Error::NoQuorum(_)
            | Error::NotEmpty { .. }
            | Error::NotAMember(_)
            | Error::Behind { .. }
            | Error::Changing
            | Error::Busy { .. } => {}
        }
    }

    /// Takes note that a write reached the disk.
    pub fn works(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Tells whether writing fails just now.
    pub fn is_failing(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
