//! The process of a job: how it starts, how it is told to end, how its end is noticed.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::Task;
use super::birth;
use crate::host::watch::Watch;
use crate::host::watch::record;

/// The job's process group. Dropping it kills the group.
pub(super) struct Child<'w> {
    child: std::process::Child,
    pid: Pid,
    /// Readable once the leader has ended; absent where the system has no such thing.
    exit: Option<OwnedFd>,
    watch: &'w Watch,
    reaped: bool,
}

/// Starts the task's program. The pipes of its output come with it.
pub(super) fn start<'w>(
    task: &Task,
    watch: &'w Watch,
) -> io::Result<(Child<'w>, Option<OwnedFd>, Option<OwnedFd>)> {
    let mut link = watch.link();
    let (mut child, template) = match launch(task, &link) {
        // The watcher is gone, or does not listen: the leader could not say that it starts.
        Err(error) if is_link_fault(&error) => {
            link = watch.renew(&link)?;
            launch(task, &link)?
        }
        other => other?,
    };
    let pid = Pid::from_child(&child);
    watch.began(pid.as_raw_nonzero().get(), template, &link);
    let stdout = child.stdout.take().map(OwnedFd::from);
    let stderr = child.stderr.take().map(OwnedFd::from);
    let started = Child {
        child,
        pid,
        exit: exit_fd(pid),
        watch,
        reaped: false,
    };
    for pipe in [&stdout, &stderr].into_iter().flatten() {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    Ok((started, stdout, stderr))
}

fn is_link_fault(error: &io::Error) -> bool {
    error.raw_os_error() == Some(birth::LINK_FAULT.raw_os_error())
}

fn launch(task: &Task, link: &Arc<UnixStream>) -> io::Result<(std::process::Child, record::Bytes)> {
    let template = record::template(task.job, task.attempt);
    let mut command = Command::new(&task.program);
    command
        .arg0(&task.name)
        .args(&task.args)
        .env_clear()
        .envs(task.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&task.directory)
        .stdin(stdin(task.input.as_deref())?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    birth::lead_own_group(&mut command, Arc::clone(link), template);
    let child = command.spawn()?;
    let pid = Pid::from_child(&child).as_raw_nonzero().get();
    Ok((child, record::with_pid(template, pid)))
}

/// A file instead of a pipe: nobody has to stand by to write it.
fn stdin(input: Option<&[u8]>) -> io::Result<Stdio> {
    let Some(input) = input else {
        return Ok(Stdio::null());
    };
    let mut file: File = tempfile::tempfile()?;
    file.write_all(input)?;
    file.rewind()?;
    Ok(file.into())
}

#[cfg(target_os = "linux")]
fn exit_fd(pid: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn exit_fd(_pid: Pid) -> Option<OwnedFd> {
    None
}

impl Child<'_> {
    /// Returns what becomes readable when the leader ends.
    pub(super) fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        self.exit.as_ref().map(AsFd::as_fd)
    }

    /// Tells whether the leader has ended. It stays a zombie, so its number stays its own.
    pub(super) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.pid), options) {
            Ok(status) => status.is_some(),
            // Not our child any more, which cannot be; waiting for it for ever would be worse.
            Err(error) => error != rustix::io::Errno::INTR,
        }
    }

    /// Signals the whole group.
    pub(super) fn signal(&self, signal: Signal) {
        // Gone already is fine.
        let _ = kill_process_group(self.pid, signal);
    }

    /// Kills what is left of the group and returns how its leader ended.
    pub(super) fn finish(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL);
        self.watch.ended(self.pid.as_raw_nonzero().get());
        self.reaped = true;
        self.child.wait()
    }
}

impl Drop for Child<'_> {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.finish();
        }
    }
}

/// Reads what is there. Returns no bytes at the end of the stream, nothing if there is nothing yet.
pub(super) fn read<'b>(pipe: &OwnedFd, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
    match rustix::io::read(pipe, &mut *buffer) {
        Ok(count) => Ok(buffer.get(..count)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Empties a wake-up socket.
pub(super) fn drain(mut wake: &UnixStream) {
    let mut bytes = [0; 64];
    while matches!(wake.read(&mut bytes), Ok(count) if count == bytes.len()) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_processes_are_no_fault_of_the_watcher() {
        let error = |errno: rustix::io::Errno| io::Error::from(errno);
        assert!(!is_link_fault(&error(rustix::io::Errno::AGAIN)));
        assert!(is_link_fault(&error(birth::LINK_FAULT)));
    }
}
