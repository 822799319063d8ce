//! What a job's process does between fork and exec, and what it must not inherit: the one place with `unsafe`.
//!
//! Between fork and exec only system calls that are safe after a fork in a program with threads; nothing that allocates or locks.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{SendFlags, send};
use rustix::process::{getpid, setsid};

use crate::host::watch::record::{self, Bytes};

/// What a start fails with whose leader could not tell the watcher. Of its own, because what `send` gives
/// when nobody reads, `fork` gives when there are too many processes.
pub(super) const LINK_FAULT: rustix::io::Errno = rustix::io::Errno::NOLINK;

/// Makes the process that `command` starts lead a session and a group of its own, die with the thread
/// that starts it, and tell the watcher of itself before its program runs.
#[allow(
    unsafe_code,
    reason = "pre_exec is unsafe; `enter` makes system calls only"
)]
pub(super) fn lead_own_group(command: &mut Command, watcher: Arc<UnixStream>, template: Bytes) {
    #[cfg(target_os = "linux")]
    let daemon = getpid();
    let enter = move || -> io::Result<()> {
        setsid()?;
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{Signal, getppid, set_parent_process_death_signal};
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The daemon may have died before that took effect.
            if getppid() != Some(daemon) {
                return Err(rustix::io::Errno::SRCH.into());
            }
        }
        let told = record::with_pid(template, getpid().as_raw_nonzero().get());
        loop {
            match send(&watcher, &told, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err(LINK_FAULT.into()),
            }
        }
    };
    // SAFETY: `enter` calls only setsid, prctl, getppid, getpid and send, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(enter);
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
            Ok(()) | Err(rustix::io::Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
