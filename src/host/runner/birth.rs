//! How a job's process comes to be, and what it must not inherit: the one place with `unsafe`.
//!
//! Until its program runs it leads a session and a group of its own, is bound to die with the thread that
//! starts it, and has told the watcher of itself. Nothing of what it does meanwhile allocates or locks.

#[cfg(not(target_os = "linux"))]
mod fork;
#[cfg(target_os = "linux")]
mod vfork;

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{SendFlags, send};
use rustix::process::{Pid, WaitOptions, getpid, waitpid};

#[cfg(not(target_os = "linux"))]
pub(super) use self::fork::start;
#[cfg(target_os = "linux")]
pub(super) use self::vfork::start;
use crate::host::watch::record::{self, Bytes};

/// What a start fails with whose leader could not tell the watcher. Of its own, because what `send` gives
/// when nobody reads, `fork` gives when there are too many processes.
pub(super) const LINK_FAULT: Errno = Errno::NOLINK;

/// What is to run.
pub(super) struct Program<'p> {
    /// An absolute path: no search takes place.
    pub file: &'p Path,
    /// What it is called.
    pub name: &'p str,
    pub args: &'p [OsString],
    /// The whole environment.
    pub env: &'p [(OsString, OsString)],
    pub directory: &'p Path,
}

/// Its standard streams.
pub(super) struct Streams {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// How it tells the watcher of itself.
#[derive(Clone, Copy)]
pub(super) struct Word<'w> {
    pub watcher: &'w UnixStream,
    /// The record but for its process id.
    pub template: Bytes,
}

impl Word<'_> {
    /// Returns the record as `pid` tells it.
    pub(super) fn of(&self, pid: Pid) -> Bytes {
        record::with_pid(self.template, pid.as_raw_nonzero().get())
    }

    /// Tells the watcher of the process that calls this. System calls only.
    fn tell(&self) -> Result<(), Errno> {
        let told = self.of(getpid());
        loop {
            match send(self.watcher, &told, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(_) => return Err(LINK_FAULT),
            }
        }
    }
}

/// Waits for the end of a process that this thread started, and returns it. From then on its number may be another's.
pub(super) fn reap(pid: Pid) -> io::Result<ExitStatus> {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(ExitStatus::from_raw(status.as_raw())),
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Marks every descriptor but the standard ones to be closed in programs that this process starts. Those it opens
/// itself are so anyway; those it was started with are not.
///
/// # Errors
/// When the descriptors cannot be listed.
#[allow(
    unsafe_code,
    reason = "a number is all there is of a descriptor that somebody else opened"
)]
pub(in crate::host) fn keep_descriptors() -> io::Result<()> {
    let list = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    for entry in std::fs::read_dir(list)? {
        let number: Option<i32> = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|number| *number > 2) else {
            continue;
        };
        // SAFETY: the borrow lasts for one system call, which fails if the number has been closed, and a
        // descriptor that took its place meanwhile is ours and marked anyway.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        match fcntl_setfd(fd, FdFlags::CLOEXEC) {
            Ok(()) | Err(Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
