//! One coordinator per database: two would each have their own idea of who is there and what is paused.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::super::error::Failure;
use super::super::exit::Exit;
use crate::support::paths;

/// Returns what keeps other coordinators from `db` as long as it is open. `backup` and `gc` do not
/// ask for it: they work beside a coordinator.
///
/// # Errors
/// When another coordinator has it, or the place cannot be written.
pub fn claim(db: &Path) -> anyhow::Result<File> {
    if let Some(dir) = db.parent().filter(|dir| !dir.as_os_str().is_empty())
        && !dir.is_dir()
    {
        paths::create_private_dir(dir)?;
    }
    // Whatever name it goes by.
    let file = db.canonicalize().unwrap_or_else(|_| db.to_owned());
    let mut mark = file.into_os_string();
    mark.push("-serving");
    let mark = paths::append_private(&PathBuf::from(mark))?;
    let failure = |what: &str| Failure::new(Exit::Failed, format!("{} {what}", db.display()));
    match mark.try_lock() {
        Ok(()) => Ok(mark),
        Err(TryLockError::WouldBlock) => Err(failure("is served by another coordinator")
            .hint("stop that one first, or give this one a database of its own with --db")
            .into()),
        Err(TryLockError::Error(error)) => Err(failure("cannot be locked").because(error).into()),
    }
}
