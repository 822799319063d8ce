//! The daemon's directory: who owns it, the host's id, and what outlives a process.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::error::{Error, system};
use crate::protocol::HostId;
use crate::protocol::api::Instance;
use crate::support::{ids, paths};

/// The directory, owned by this process until it ends.
#[derive(Debug)]
pub(super) struct StateDir {
    path: PathBuf,
    instance: Instance,
    /// Unlocked by the system when the process is gone, however it went.
    _lock: File,
}

impl StateDir {
    /// Makes the directory if it is not there, and takes it for this process.
    pub(super) fn take(path: &Path) -> Result<Self, Error> {
        paths::create_private_dir(path)?;
        let lock = paths::append_private(&path.join("lock"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::InUse {
                    dir: path.to_owned(),
                });
            }
            Err(error) => return Err(system("lock the state directory")(error.into())),
        }
        let state_id = kept(&path.join("state-id"), ids::random_hex::<16>)?;
        let this = Self {
            path: path.to_owned(),
            instance: Instance {
                state_id,
                process_id: ids::random_hex::<8>(),
            },
            _lock: lock,
        };
        for dir in [this.scratch(), this.results()] {
            paths::create_private_dir(&dir)?;
        }
        Ok(this)
    }

    /// Returns who this process is.
    pub(super) const fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Returns the id this host registers with: `wanted`, or one made once and kept.
    pub(super) fn host_id(&self, wanted: Option<&HostId>) -> Result<HostId, Error> {
        if let Some(id) = wanted {
            return Ok(id.clone());
        }
        let text = kept(&self.path.join("host-id"), || {
            format!("host_{}", ids::time_ordered())
        })?;
        HostId::new(text).map_err(|error| {
            system("read the host id of the state directory")(io::Error::other(error))
        })
    }

    /// Returns the directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where fresh directories of jobs are made.
    pub(super) fn scratch(&self) -> PathBuf {
        self.path.join("work")
    }

    /// Returns where results wait that could not be handed in.
    pub(super) fn results(&self) -> PathBuf {
        self.path.join("results")
    }

    /// Removes what jobs of former lives left in their directories.
    pub(super) fn clear_scratch(&self) {
        for entry in fs::read_dir(self.scratch()).into_iter().flatten().flatten() {
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "cannot remove a directory of a former job");
            }
        }
    }
}

/// Returns the line in `file`, which `make` makes the first time.
fn kept(file: &Path, make: impl FnOnce() -> String) -> Result<String, Error> {
    let read = || fs::read_to_string(file).map(|text| text.trim().to_owned());
    if let Ok(text) = read()
        && !text.is_empty()
    {
        return Ok(text);
    }
    let text = make();
    paths::write_private(file, text.as_bytes())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_and_keeps_the_id() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::take(dir.path()).unwrap();
        assert!(matches!(
            StateDir::take(dir.path()),
            Err(Error::InUse { .. })
        ));
        let (id, instance) = (first.host_id(None).unwrap(), first.instance().clone());
        assert!(id.as_str().starts_with("host_"));
        drop(first);
        let second = StateDir::take(dir.path()).unwrap();
        assert_eq!(second.host_id(None).unwrap(), id);
        assert_eq!(second.instance().state_id, instance.state_id);
        assert_ne!(second.instance().process_id, instance.process_id);
        let wanted = HostId::new("lab-1").unwrap();
        assert_eq!(second.host_id(Some(&wanted)).unwrap(), wanted);
    }
}
