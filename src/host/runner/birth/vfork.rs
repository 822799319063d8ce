//! A birth by `clone` as `vfork` does it: the child borrows the daemon's memory until its program runs.
//!
//! A fork would copy the page tables of the whole daemon, and each page its other threads write meanwhile:
//! ten times the cost. The price is care: what the child writes, the daemon has written. So it has a stack of its own,
//! no handler of ours ever runs in it, and it makes system calls only.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Pid, Signal, chdir, getpid, getppid, setsid};

use super::{LINK_FAULT, Program, Streams, Word, reap};

/// What runs a file that is a script without saying of what, as `execvp` has it.
const SHELL: &CStr = c"/bin/sh";
/// The child's stack, in pieces of 16 bytes, to which stacks are aligned. A hundredth is used.
const STACK: usize = 4096;
/// Signals are numbered from 1 to this.
const SIGNALS: c_int = 64;

/// A list of texts as `execve` takes it.
struct Texts {
    /// What `list` points at.
    _held: Vec<CString>,
    list: Vec<*const c_char>,
}

impl Texts {
    fn new(held: Vec<CString>) -> Self {
        let ends = std::iter::once(ptr::null());
        let list = held.iter().map(|text| text.as_ptr()).chain(ends).collect();
        Self { _held: held, list }
    }
}

/// All that the child needs, made before it begins.
struct Child<'c> {
    file: CString,
    argv: Texts,
    /// The same as a script for the shell.
    script: Texts,
    env: Texts,
    directory: CString,
    streams: [OwnedFd; 3],
    word: Word<'c>,
    daemon: Pid,
    /// Why it did not become its program.
    fault: AtomicI32,
}

/// Starts the program. Returns its process, which leads a group of its own. `failed` is told of a process that
/// announced itself and could not become its program, before it is reaped.
pub(in super::super) fn start(
    program: &Program<'_>,
    streams: Streams,
    word: Word<'_>,
    failed: impl FnOnce(Pid),
) -> io::Result<Pid> {
    let child = Child::new(program, streams, word)?;
    let pid = child.begin()?;
    match child.fault.load(Ordering::Relaxed) {
        0 => Ok(pid),
        fault => {
            if fault != LINK_FAULT.raw_os_error() {
                failed(pid);
            }
            let _ = reap(pid);
            Err(io::Error::from_raw_os_error(fault))
        }
    }
}

impl<'c> Child<'c> {
    fn new(program: &Program<'_>, streams: Streams, word: Word<'c>) -> io::Result<Self> {
        let file = text(program.file)?;
        let args = || program.args.iter().map(text);
        let argv = std::iter::once(text(program.name)).chain(args());
        let script = [Ok(SHELL.to_owned()), Ok(file.clone())];
        let script = script.into_iter().chain(args());
        let env = program.env.iter().map(|(name, value)| {
            let parts = [name.as_bytes(), b"=", value.as_bytes()];
            text(OsStr::from_bytes(&parts.concat()))
        });
        Ok(Self {
            argv: Texts::new(argv.collect::<io::Result<_>>()?),
            script: Texts::new(script.collect::<io::Result<_>>()?),
            env: Texts::new(env.collect::<io::Result<_>>()?),
            directory: text(program.directory)?,
            file,
            streams: [
                above(streams.stdin)?,
                above(streams.stdout)?,
                above(streams.stderr)?,
            ],
            word,
            daemon: getpid(),
            fault: AtomicI32::new(0),
        })
    }

    /// Makes the process and waits until it has become its program or has failed to.
    #[allow(unsafe_code, reason = "clone and the signal mask have no safe form")]
    fn begin(&self) -> io::Result<Pid> {
        let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK);
        let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let this = ptr::from_ref(self).cast_mut().cast::<c_void>();
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the sets are written before they are read. The child runs `live` on a stack of its own that
        // outlives it here, as this thread goes on only when the child is done with it; so does `self`. All signals
        // are blocked until the child has none of our handlers any more.
        let pid = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            let pid = libc::clone(live, top.cast(), flags, this);
            let error = io::Error::last_os_error();
            libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
            if pid < 0 {
                return Err(error);
            }
            pid
        };
        Pid::from_raw(pid).ok_or_else(|| io::Error::from(Errno::SRCH))
    }

    /// Becomes the program, or returns why not. Runs in the child.
    fn become_program(&self) -> Errno {
        match self.enter() {
            Ok(()) => {}
            Err(error) => return error,
        }
        match self.execute(&self.file, &self.argv) {
            Errno::NOEXEC => self.execute(SHELL, &self.script),
            error => error,
        }
    }

    fn enter(&self) -> Result<(), Errno> {
        setsid()?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The daemon may have died before that took effect.
        if getppid() != Some(self.daemon) {
            return Err(Errno::SRCH);
        }
        reset_signals();
        self.word.tell()?;
        self.connect()?;
        chdir(self.directory.as_c_str())
    }

    #[allow(unsafe_code, reason = "the standard streams are known by number only")]
    fn connect(&self) -> Result<(), Errno> {
        for (number, stream) in (0..).zip(&self.streams) {
            // SAFETY: `stream` is open, and the child's table of descriptors is its own.
            if unsafe { libc::dup2(stream.as_raw_fd(), number) } < 0 {
                return Err(fault());
            }
        }
        Ok(())
    }

    #[allow(unsafe_code, reason = "execve has no safe form")]
    fn execute(&self, file: &CStr, argv: &Texts) -> Errno {
        // SAFETY: all texts and lists end in null and are held by `self`.
        unsafe { libc::execve(file.as_ptr(), argv.list.as_ptr(), self.env.list.as_ptr()) };
        fault()
    }
}

/// The child's life until its program runs.
#[allow(unsafe_code, reason = "its argument comes through clone")]
extern "C" fn live(child: *mut c_void) -> c_int {
    // SAFETY: this is the `Child` that `begin` borrows, which waits for this process.
    let child = unsafe { &*child.cast::<Child<'_>>() };
    let error = child.become_program();
    child.fault.store(error.raw_os_error(), Ordering::Relaxed);
    // SAFETY: ends this process only, without anything that `exit` would do in the daemon's memory.
    unsafe { libc::_exit(127) }
}

/// Gives the child the signals that programs expect: none blocked, none handled, SIGPIPE not ignored. Call it in a
/// group of its own: until then what the daemon's group was sent is the daemon's, and is dropped here.
#[allow(unsafe_code, reason = "handlers and masks have no safe form")]
fn reset_signals() {
    // SAFETY: `SIG_DFL` with no flags and an empty mask is all zeros. The child's handlers and its mask are its own,
    // and nothing is unblocked before the last handler of ours is gone.
    unsafe {
        let default: libc::sigaction = MaybeUninit::zeroed().assume_init();
        let mut ignore = default;
        ignore.sa_sigaction = libc::SIG_IGN;
        for signal in 1..=SIGNALS {
            let mut now = default;
            // Two numbers are the C library's own and refused.
            if libc::sigaction(signal, ptr::null(), &raw mut now) < 0 {
                continue;
            }
            let ignored = now.sa_sigaction == libc::SIG_IGN && signal != libc::SIGPIPE;
            if now.sa_sigaction != libc::SIG_DFL && !ignored {
                // To ignore a signal is the way to forget one that waits.
                libc::sigaction(signal, &raw const ignore, ptr::null_mut());
                libc::sigaction(signal, &raw const default, ptr::null_mut());
            }
        }
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}

/// Returns what the last call of the C library failed with.
fn fault() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

fn text(text: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(text.as_ref().as_bytes()).map_err(io::Error::from)
}

/// Moves a descriptor out of the way of the standard ones, which are replaced one after the other.
fn above(stream: OwnedFd) -> io::Result<OwnedFd> {
    if stream.as_raw_fd() > 2 {
        return Ok(stream);
    }
    Ok(fcntl_dupfd_cloexec(&stream, 3)?)
}
