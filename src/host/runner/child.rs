//! The process of a job: how it starts, how it is told to end, how its end is noticed.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid,
};

use super::Task;
use super::birth::{self, Program, Streams, Word};
use crate::host::watch::Watch;
use crate::host::watch::record;

/// The job's process group. Dropping it kills the group.
pub(in crate::host) struct Child<'w> {
    pid: Pid,
    /// Readable once the leader has ended; absent where the system has no such thing.
    exit: Option<OwnedFd>,
    watch: &'w Watch,
    reaped: bool,
}

/// The ends of the job's output.
pub(in crate::host) struct Pipes {
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// Starts the task's program. The pipes of its output come with it.
pub(in crate::host) fn start<'w>(task: &Task, watch: &'w Watch) -> io::Result<(Child<'w>, Pipes)> {
    let mut link = watch.link();
    let template = record::template(task.job, task.attempt);
    let begin = |link: &UnixStream| {
        let word = Word {
            watcher: link,
            template,
        };
        let (pid, pipes) = launch(task, watch, word)?;
        Ok((pid, pipes, word.of(pid)))
    };
    let (pid, pipes, record) = match begin(&link) {
        // The watcher is gone, or does not listen: the leader could not say that it starts.
        Err(error) if is_link_fault(&error) => {
            link = watch.renew(&link)?;
            begin(&link)?
        }
        other => other?,
    };
    watch.began(pid.as_raw_nonzero().get(), record, &link);
    let started = Child {
        pid,
        exit: exit_fd(pid),
        watch,
        reaped: false,
    };
    Ok((started, pipes))
}

fn is_link_fault(error: &io::Error) -> bool {
    error.raw_os_error() == Some(birth::LINK_FAULT.raw_os_error())
}

fn launch(task: &Task, watch: &Watch, word: Word<'_>) -> io::Result<(Pid, Pipes)> {
    let program = Program {
        file: &task.program,
        name: &task.name,
        args: &task.args,
        env: &task.env,
        directory: &task.directory,
    };
    let (stdout, theirs_out) = pipe()?;
    let (stderr, theirs_err) = pipe()?;
    let streams = Streams {
        stdin: stdin(task.input.as_deref())?,
        stdout: theirs_out,
        stderr: theirs_err,
    };
    let pid = birth::start(&program, streams, word, |pid| {
        watch.ended(pid.as_raw_nonzero().get());
    })?;
    Ok((pid, Pipes { stdout, stderr }))
}

/// Returns a pipe that is read without waiting.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = io::pipe()?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours.into(), theirs.into()))
}

/// A file instead of a pipe: nobody has to stand by to write it.
fn stdin(input: Option<&[u8]>) -> io::Result<OwnedFd> {
    let Some(input) = input else {
        return Ok(File::open("/dev/null")?.into());
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
    pub(in crate::host) fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        self.exit.as_ref().map(AsFd::as_fd)
    }

    /// Tells whether the leader has ended. It stays a zombie, so its number stays its own.
    pub(in crate::host) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.pid), options) {
            Ok(status) => status.is_some(),
            // Not our child any more, which cannot be; waiting for it for ever would be worse.
            Err(error) => error != Errno::INTR,
        }
    }

    /// Signals the whole group.
    pub(in crate::host) fn signal(&self, signal: Signal) {
        // Gone already is fine.
        let _ = kill_process_group(self.pid, signal);
    }

    /// Kills what is left of the group and returns how its leader ended.
    pub(in crate::host) fn finish(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL);
        self.watch.ended(self.pid.as_raw_nonzero().get());
        self.reaped = true;
        birth::reap(self.pid)
    }

    /// Tells whether nothing of the group is left, once it is finished.
    pub(in crate::host) fn is_gone(&self) -> bool {
        test_kill_process_group(self.pid) == Err(Errno::SRCH)
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
pub(in crate::host) fn read<'b>(
    pipe: &OwnedFd,
    buffer: &'b mut [u8],
) -> io::Result<Option<&'b [u8]>> {
    match rustix::io::read(pipe, &mut *buffer) {
        Ok(count) => Ok(buffer.get(..count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Empties a wake-up socket.
pub(in crate::host) fn drain(mut wake: &UnixStream) {
    let mut bytes = [0; 64];
    while matches!(wake.read(&mut bytes), Ok(count) if count == bytes.len()) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_processes_are_no_fault_of_the_watcher() {
        let error = |errno: Errno| io::Error::from(errno);
        assert!(!is_link_fault(&error(Errno::AGAIN)));
        assert!(is_link_fault(&error(birth::LINK_FAULT)));
    }
}
