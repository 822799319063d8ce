//! The owner's own door: a Unix socket that only this user and root may use.
//!
//! Whoever connects is asked of the kernel, so no token is needed. The file is 0600 from the moment it
//! is there, belongs to one process at a time, and goes when that process closes it.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use tokio::net::{UnixListener, UnixStream};

use crate::support::paths;

/// A socket that cannot be opened. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process serves it. Trying again helps when that one has ended.
    #[error("{} is served by another coordinator", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// There is something else at its place. Trying again does not help.
    #[error("{} is there and is no socket: it was not touched", path.display())]
    Other {
        /// The socket.
        path: PathBuf,
    },
    /// A place beside it cannot be made or written.
    #[error(transparent)]
    Place(#[from] paths::Error),
    /// The system refused.
    #[error("{act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// The socket, which is there as long as this value is.
#[derive(Debug)]
pub struct OwnersSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Which file is ours: device and inode.
    file: (u64, u64),
    /// Keeps others from taking the place. Unlocked by the system when the process is gone.
    _lock: File,
}

impl OwnersSocket {
    /// Opens the socket at `path`; makes its directory, 0700, if there is none. A file that a killed
    /// process left is replaced, one at which somebody answers is not.
    ///
    /// # Errors
    /// When somebody answers there, something else is there, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, SocketError> {
        let failed = |act| {
            move |source| SocketError::Io {
                act,
                path: path.to_owned(),
                source,
            }
        };
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            Some(_) | None => Path::new("."),
        };
        if !dir.is_dir() {
            paths::create_private_dir(dir)?;
        }
        let lock = lock(path)?;
        clear(path)?;
        // A socket gets its mode from the process's mask, which other threads need as it is. So it is
        // made where nobody else can go and takes its place when it is private and answers.
        let hidden = tempfile::Builder::new()
            .prefix(".s")
            .rand_bytes(4)
            .tempdir_in(dir)
            .map_err(failed("make a place for"))?;
        let made = hidden.path().join("s");
        let listener = UnixListener::bind(&made).map_err(failed("open the socket"))?;
        fs::set_permissions(&made, Permissions::from_mode(0o600)).map_err(failed("close off"))?;
        let file = identity(&fs::symlink_metadata(&made).map_err(failed("look at"))?);
        fs::rename(&made, path).map_err(failed("put in place"))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            file,
            _lock: lock,
        })
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the next connection of the owner. Those of others are closed.
    ///
    /// # Errors
    /// When the system refuses one, which it does when files run out.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        loop {
            let (stream, _) = ready!(self.listener.poll_accept(context))?;
            match stream.peer_cred() {
                Ok(peer) if is_owner(peer.uid(), rustix::process::geteuid().as_raw()) => {
                    return Poll::Ready(Ok(stream));
                }
                Ok(peer) => {
                    tracing::warn!(uid = peer.uid(), "another user came to the owner's socket");
                }
                // It is gone already.
                Err(error) => tracing::debug!(%error, "a connection without an owner"),
            }
        }
    }
}

impl Drop for OwnersSocket {
    fn drop(&mut self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|there| identity(&there) == self.file);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the socket stays behind");
        }
    }
}

const fn is_owner(uid: u32, own: u32) -> bool {
    uid == own || uid == 0
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Returns what keeps other processes from this place as long as it is open.
fn lock(path: &Path) -> Result<File, SocketError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let lock = paths::append_private(Path::new(&beside))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(SocketError::Io {
            act: "lock",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Removes the socket of a process that is gone.
fn clear(path: &Path) -> Result<(), SocketError> {
    let failed = |act, source| SocketError::Io {
        act,
        path: path.to_owned(),
        source,
    };
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", error)),
    };
    if !there.file_type().is_socket() {
        return Err(SocketError::Other {
            path: path.to_owned(),
        });
    }
    match Blocking::connect(path) {
        Ok(_) => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| failed("remove the left-over socket", error))
        }
        // Full, or not ours to ask: somebody may well be there.
        Err(error) => Err(failed("ask who serves", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_oneself_and_root_own_the_socket() {
        for (uid, own, may) in [
            (1000, 1000, true),
            (0, 1000, true),
            (1001, 1000, false),
            (1000, 0, false),
        ] {
            assert_eq!(is_owner(uid, own), may, "{uid} {own}");
        }
    }

    fn answers(path: &Path) -> bool {
        Blocking::connect(path).is_ok()
    }

    fn entries(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_socket_is_private_has_one_owner_and_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/c.sock");
        let first = OwnersSocket::open(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert!(answers(&path));
        let taken = OwnersSocket::open(&path).unwrap_err();
        assert!(matches!(taken, SocketError::InUse { .. }), "{taken}");
        drop(first);
        assert_eq!(entries(path.parent().unwrap()), ["c.sock.lock"]);
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let fresh = OwnersSocket::open(&path).unwrap();
        assert!(answers(&path));
        drop(fresh);
        // Somebody who knows nothing of our lock.
        let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let taken = OwnersSocket::open(&path).unwrap_err();
        assert!(matches!(taken, SocketError::InUse { .. }), "{taken}");
        drop(other);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        let other = OwnersSocket::open(&path).unwrap_err();
        assert!(matches!(other, SocketError::Other { .. }), "{other}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_place_that_another_took_meanwhile_is_left_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sock");
        let socket = OwnersSocket::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        drop(socket);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }
}
