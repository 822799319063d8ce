//! The fresh directory of a job that names none: 0700, and gone afterwards.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Task;

/// A directory made for one attempt.
pub(super) struct Scratch(PathBuf);

/// Makes the directory that the task asks for, if it does.
pub(super) fn make(task: &mut Task) -> io::Result<Option<Scratch>> {
    let Some(below) = &task.scratch else {
        return Ok(None);
    };
    let path = below.join(format!("{}-{}", task.job, task.attempt));
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    match builder.create(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Of the same attempt in a former life.
            remove_all(&path)?;
            builder.create(&path)?;
        }
        Err(error) => return Err(error),
    }
    task.directory.clone_from(&path);
    Ok(Some(Scratch(path)))
}

impl Scratch {
    /// Removes the directory with all that is in it, or leaves it if it holds something worth keeping.
    pub(super) fn remove(self, all: bool) {
        // Most jobs leave it empty.
        if fs::remove_dir(&self.0).is_ok() {
            return;
        }
        if all && let Err(error) = remove_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove a job's directory");
        }
    }
}

fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // Some tools leave directories that their owner may not write.
            make_writable(path);
            fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn make_writable(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // The type is that of the entry itself: no link is followed.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}
