//! A birth by `fork`, where the system has nothing better: the daemon's memory is copied for it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, setsid};

use super::{Program, Streams, Word};

/// Starts the program. Returns its process, which leads a group of its own.
#[allow(
    unsafe_code,
    reason = "pre_exec is unsafe; what it is given makes system calls only"
)]
pub(in super::super) fn start(
    program: &Program<'_>,
    streams: Streams,
    word: Word<'_>,
    _failed: impl FnOnce(Pid),
) -> io::Result<Pid> {
    let mut command = Command::new(program.file);
    command
        .arg0(program.name)
        .args(program.args)
        .env_clear()
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .current_dir(program.directory)
        .stdin(streams.stdin)
        .stdout(streams.stdout)
        .stderr(streams.stderr);
    let watcher = word.watcher.try_clone()?;
    let template = word.template;
    let enter = move || -> io::Result<()> {
        setsid()?;
        let watcher = &watcher;
        Ok(Word { watcher, template }.tell()?)
    };
    // SAFETY: `enter` calls only setsid, getpid and send, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(enter);
    }
    let child = command.spawn()?;
    Ok(Pid::from_child(&child))
}
