//! A disk that is soon full.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

/// A small file system in memory, gone when the test is over.
pub struct SmallDisk(Arc<TempDir>);

impl SmallDisk {
    /// Returns nothing, and says so, where this process may not mount.
    pub fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = rustix::process::geteuid().is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", size, "tmpfs"])
                .arg(dir.path())
                .status()
                .is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("SKIPPED: a full disk needs the right to mount a small file system");
            return None;
        }
        Some(Self(Arc::new(dir)))
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Returns its directory, for who keeps it as long as what is in it.
    pub fn dir(&self) -> Arc<TempDir> {
        Arc::clone(&self.0)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
