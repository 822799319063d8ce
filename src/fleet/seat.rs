//! Where a host's daemon has its things on that host: agreed between deploy, tunnel and teardown.
//!
//! Paths are below the home of the host's user. A daemon belongs to one controller: the files through
//! which they find each other carry the controller's id.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::support::ids::random_hex;
use crate::support::paths;

/// The program.
pub const PROGRAM: &str = ".local/bin/skyclaw";
/// The settings of the daemon, one `NAME=value` a line, mode 0600.
pub const SETTINGS: &str = ".config/skyclaw/host.env";
/// The unit that runs it, where systemd does.
pub const UNIT: &str = "skyclaw-host.service";
/// Where that unit goes.
pub const UNIT_FILE: &str = ".config/systemd/user/skyclaw-host.service";
/// The directory of what keeps the daemon running where systemd does not.
pub const SERVICE: &str = ".local/state/skyclaw/service";
/// The script that does.
pub const KEEPER: &str = ".local/state/skyclaw/service/keeper.sh";
/// The daemon's own directory, unless its settings name another.
pub const STATE: &str = ".local/state/skyclaw/host/fleet";
/// The directory of tunnels, mode 0700.
pub const TUNNELS: &str = ".local/state/skyclaw/tunnel";

/// Which controller a daemon belongs to: made once and kept in the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ControllerId(String);

impl ControllerId {
    /// Returns the id of this user's controller on this machine; makes it the first time.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn of_this_machine() -> Result<Self, paths::Error> {
        let dir = paths::state_dir()?;
        paths::create_private_dir(&dir)?;
        Self::in_dir(&dir)
    }

    /// Returns the id that is kept in this state directory; makes it the first time.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn in_dir(dir: &Path) -> Result<Self, paths::Error> {
        let path = dir.join("controller-id");
        let failed = |act, source| paths::Error::Io {
            act,
            path: path.clone(),
            source,
        };
        loop {
            match fs::read_to_string(&path) {
                Ok(text) if is_id(text.trim()) => return Ok(Self(text.trim().to_owned())),
                Ok(_) => fs::remove_file(&path).map_err(|error| failed("remove", error))?,
                // Not even text.
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    fs::remove_file(&path).map_err(|error| failed("remove", error))?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("read", error)),
            }
            // Whole or not at all, and never over another process's: two may start at once.
            let fresh =
                tempfile::NamedTempFile::new_in(dir).map_err(|error| failed("make", error))?;
            fs::write(fresh.path(), random_hex::<8>()).map_err(|error| failed("write", error))?;
            match fresh.persist_noclobber(&path) {
                Ok(_) => {}
                Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("write", error.error)),
            }
        }
    }

    /// Returns the file that tells the daemon where its coordinator is: one line of JSON,
    /// `{"url":"unix:/…"}` or `{"url":"http://127.0.0.1:…","token":"…"}`, mode 0600.
    pub fn coordinator_file(&self) -> String {
        format!("{TUNNELS}/{self}.json")
    }

    /// Returns the socket that leads through the tunnel.
    pub fn socket(&self) -> String {
        format!("{TUNNELS}/{self}.sock")
    }
}

impl fmt::Display for ControllerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_again_if_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let id = ControllerId::in_dir(dir.path()).unwrap();
        assert_eq!(ControllerId::in_dir(dir.path()).unwrap(), id);
        let mut last = id;
        for damaged in [b"half".as_slice(), b"\xff\xfe"] {
            fs::write(dir.path().join("controller-id"), damaged).unwrap();
            let other = ControllerId::in_dir(dir.path()).unwrap();
            assert_ne!(other, last);
            assert_eq!(ControllerId::in_dir(dir.path()).unwrap(), other);
            last = other;
        }
        assert!(last.socket().ends_with(&format!("{last}.sock")));
    }
}
