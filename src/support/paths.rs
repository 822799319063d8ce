//! Where skyclaw keeps things on this machine, and how it makes private files.
//!
//! Files are 0600 and directories 0700, and a file is replaced whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The name of the socket at which `skyclaw fleet up` answers, in the state directory.
pub const CONTROLLER_SOCKET: &str = "controller.sock";

/// A place that could not be found or made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no home directory to keep anything in.
    #[error("no home directory: set HOME, or XDG_STATE_HOME and XDG_CONFIG_HOME")]
    NoHome,
    /// The file system refused.
    #[error("{act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

fn io_error(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { act, path, source }
}

/// Returns the directory for skyclaw's records and its local queue.
///
/// # Errors
/// When this user has no home directory.
pub fn state_dir() -> Result<PathBuf, Error> {
    // macOS has no state directory of its own; its data directory is the nearest thing.
    dirs::state_dir()
        .or_else(dirs::data_local_dir)
        .map(|dir| dir.join("skyclaw"))
        .ok_or(Error::NoHome)
}

/// Returns the socket at which this user's `skyclaw fleet up` answers, if it runs.
///
/// # Errors
/// When this user has no home directory.
pub fn controller_socket() -> Result<PathBuf, Error> {
    state_dir().map(|dir| dir.join(CONTROLLER_SOCKET))
}

/// Returns the directory for skyclaw's settings.
///
/// # Errors
/// When this user has no home directory.
pub fn config_dir() -> Result<PathBuf, Error> {
    dirs::config_dir()
        .map(|dir| dir.join("skyclaw"))
        .ok_or(Error::NoHome)
}

/// Returns the directory for what can be fetched again.
///
/// # Errors
/// When this user has no home directory.
pub fn cache_dir() -> Result<PathBuf, Error> {
    dirs::cache_dir()
        .map(|dir| dir.join("skyclaw"))
        .ok_or(Error::NoHome)
}

/// Returns `path` with a leading `~/` replaced by the home directory.
pub fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), dirs::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        (None, Some(home)) if path == "~" => home,
        _ => PathBuf::from(path),
    }
}

/// Makes `dir` and its parents, 0700 where they are new.
///
/// # Errors
/// When the file system refuses.
pub fn create_private_dir(dir: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io_error("create directory", dir))
}

/// Opens `path` for appending, 0600 if it is new.
///
/// # Errors
/// When the file system refuses.
pub fn append_private(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(io_error("open", path))
}

/// Writes `path` whole: a temporary file beside it, synced, then renamed over it. The result is 0600.
///
/// # Errors
/// When the file system refuses; the old file is then untouched.
pub fn write_private(path: &Path, contents: &[u8]) -> Result<(), Error> {
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(dir).map_err(io_error("write in", dir))?;
    temporary
        .write_all(contents)
        .map_err(io_error("write", path))?;
    temporary
        .as_file()
        .sync_all()
        .map_err(io_error("sync", path))?;
    temporary
        .persist(path)
        .map_err(|failed| io_error("replace", path)(failed.error))?;
    Ok(())
}

/// Writes `path` unless it exists. Returns whether it was written.
///
/// # Errors
/// When the file system refuses for another reason than an existing file.
pub fn create_private(path: &Path, contents: &[u8]) -> Result<bool, Error> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(io_error("create", path)(error)),
    };
    let written = file.write_all(contents).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a file would be taken for a whole one by the next run.
        let _ = fs::remove_file(path);
        return Err(io_error("write", path)(error));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn private_files_are_private_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let nested = dir.path().join("a/b");
        create_private_dir(&nested).unwrap();
        let file = nested.join("f");
        assert!(create_private(&file, b"one").unwrap());
        assert!(!create_private(&file, b"two").unwrap());
        write_private(&file, b"three").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"three");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::metadata(&nested).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(
            fs::read_dir(&nested).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }
}
