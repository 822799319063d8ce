//! Turns what SQLite says into what a caller can act on.

use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::queue::Error;

/// Returns the room's error for what happened to the file at `path` during `act`.
pub fn error(act: &'static str, path: &Path, source: rusqlite::Error) -> Error {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Damaged {
            path,
            detail: source.to_string(),
        },
        Some(ErrorCode::DiskFull) => Error::Full { path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy { path },
        // The remaining codes belong to SQLite, not to us; all of them read as "storage failed".
        Some(_) | None => Error::Storage {
            act,
            path,
            source: Arc::new(source),
        },
    }
}

/// Tells whether the failure lies in one command's data, so that its neighbours can go on without it.
pub fn is_of_one_command(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch
        ),
        None => true,
    }
}
