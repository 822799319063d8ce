//! One job from its start to its end: waits for output, the end, orders and time limits in one `poll`.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::child::{self, Child};
use super::orders::Orders;
use super::phase::{Phase, Why};
use super::{Ran, Task, report};
use crate::client::holder::{Chunks, JobLog, Stop};
use crate::host::watch::Watch;
use crate::protocol::Ends;
use crate::protocol::api::Stream;
use crate::support::clock::Clock;

/// After the job's end its pipes are read until they were idle for this long,
const IDLE: Duration = Duration::from_millis(100);
/// and no longer than this: somebody may hold them for ever.
const HELD: Duration = Duration::from_secs(2);
/// For so long after its start only a job's end is waited for, not its output: most short ones say nothing, and the
/// end of each of their pipes would wake the slot once more. What fits into a pipe is not held up.
const QUIET: Duration = Duration::from_millis(5);
/// How often a lease is looked at. A timer would not count the time in which the machine slept.
const LEASE_LOOK: Duration = Duration::from_secs(1);
/// How often the end is looked for where nothing announces it.
const EXIT_LOOK: Duration = Duration::from_millis(20);
/// What a job gets to tidy up when the daemon stops.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// What a slot works with.
pub(super) struct Means<'m> {
    pub wake: &'m UnixStream,
    pub buffer: &'m mut [u8],
    pub clock: &'m dyn Clock,
    pub watch: &'m Watch,
}

struct Drive<'d, 'm> {
    task: &'d Task,
    orders: &'d Orders,
    means: &'d mut Means<'m>,
    child: Child<'m>,
    pipes: [(Stream, Option<OwnedFd>, Ends); 2],
    chunks: Chunks<'d>,
    phase: Phase,
    why: Option<Why>,
    ended: bool,
    status: Option<ExitStatus>,
    started_at: Instant,
    /// Until when only its end is waited for.
    quiet_until: Option<Instant>,
}

/// Runs the task and returns what came of it.
pub(super) fn drive<'m>(
    task: &Task,
    orders: &Orders,
    log: Option<&JobLog>,
    means: &mut Means<'m>,
) -> Ran {
    let started_at = Instant::now();
    // Whoever asked before it began needs no process to be told.
    if let Some(stop) = orders.look(means.clock.now()) {
        return report::not_begun(&stop, means.clock.now());
    }
    let (child, ends) = match child::start(task, means.watch) {
        Ok(started) => started,
        Err(error) => return report::spawn_failure(&task.name, &error, means.clock.now()),
    };
    let pipe = |stream, pipe| (stream, Some(pipe), Ends::new(task.max_output));
    let mut drive = Drive {
        task,
        orders,
        child,
        pipes: [
            pipe(Stream::Stdout, ends.stdout),
            pipe(Stream::Stderr, ends.stderr),
        ],
        chunks: Chunks::new(log),
        phase: Phase::Running,
        why: None,
        ended: false,
        status: None,
        started_at,
        quiet_until: Some(started_at + QUIET),
        means,
    };
    if drive.child.exit_fd().is_none() {
        drive.quiet_until = None;
    }
    let held = loop {
        match drive.turn() {
            Ok(None) => {}
            Ok(Some(held)) => break held,
            Err(error) => {
                tracing::error!(%error, "cannot wait for a job");
                break true;
            }
        }
    };
    drive.finish(held)
}

impl Drive<'_, '_> {
    /// Waits for something and acts on it. Returns whether pipes are held, once the job is over.
    fn turn(&mut self) -> io::Result<Option<bool>> {
        let now = Instant::now();
        let flush_at = self.chunks.flush_old(now);
        let hold_until = match self.phase {
            Phase::Draining { .. } => None,
            Phase::Running | Phase::Ending { .. } | Phase::Killed => self.chunks.hold_until(now),
        };
        self.quiet_until = self
            .quiet_until
            .filter(|until| now < *until && matches!(self.phase, Phase::Running));
        let timeout = self.timeout(now, [flush_at, hold_until, self.quiet_until]);
        let hold = hold_until.is_some() || self.quiet_until.is_some();
        let mut ready = self.wait(timeout, hold)?;
        if ready.exit && self.quiet_until.is_some() {
            ready.pipes = [true, true];
        }
        let now = Instant::now();
        if ready.wake {
            child::drain(self.means.wake);
        }
        let mut got_any = false;
        for (at, ready) in ready.pipes.into_iter().enumerate() {
            got_any |= ready && self.read(at, now)?;
        }
        if !self.ended && (ready.exit || self.child.exit_fd().is_none()) {
            self.ended = self.child.has_ended();
        }
        self.obey(now);
        self.advance(now, got_any)
    }

    fn timeout(&self, now: Instant, due: [Option<Instant>; 3]) -> Option<Duration> {
        let own = match self.phase {
            Phase::Running => self.started_at.checked_add(self.task.limit),
            Phase::Ending { kill_at } => Some(kill_at),
            Phase::Killed => None,
            Phase::Draining { idle_at, last_at } => Some(idle_at.min(last_at)),
        };
        let lease = (self.status.is_none() && self.orders.is_limited()).then(|| now + LEASE_LOOK);
        let exit = (!self.ended && self.child.exit_fd().is_none()).then(|| now + EXIT_LOOK);
        let at = due.into_iter().chain([own, lease, exit]).flatten().min()?;
        Some(at.saturating_duration_since(now))
    }

    fn wait(&self, timeout: Option<Duration>, hold: bool) -> io::Result<Ready> {
        // A fraction of a millisecond is rounded up, or the last one is spent waiting for nothing in a circle.
        let timeout = timeout
            .map(Timespec::try_from)
            .transpose()
            .map_err(io::Error::other)?;
        let [(_, stdout, _), (_, stderr, _)] = &self.pipes;
        let exit = self.child.exit_fd().filter(|_| !self.ended);
        let sources: [Option<std::os::fd::BorrowedFd<'_>>; 4] = {
            use std::os::fd::AsFd;
            let pipe = |pipe: &'_ Option<OwnedFd>| pipe.is_some() && !hold;
            [
                Some(self.means.wake.as_fd()),
                exit,
                stdout.as_ref().filter(|_| pipe(stdout)).map(AsFd::as_fd),
                stderr.as_ref().filter(|_| pipe(stderr)).map(AsFd::as_fd),
            ]
        };
        let mut fds: Vec<PollFd<'_>> = sources
            .iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut results = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = |asked: bool| asked && results.next().unwrap_or(false);
        let [wake, exit, stdout, stderr] = sources.map(|source| next(source.is_some()));
        Ok(Ready {
            wake,
            exit,
            pipes: [stdout, stderr],
        })
    }

    /// Reads once. Returns whether bytes came.
    fn read(&mut self, at: usize, now: Instant) -> io::Result<bool> {
        let Some((stream, pipe, ends)) = self.pipes.get_mut(at) else {
            return Ok(false);
        };
        let Some(open) = pipe else { return Ok(false) };
        match child::read(open, self.means.buffer)? {
            None => Ok(false),
            Some([]) => {
                *pipe = None;
                Ok(false)
            }
            Some(bytes) => {
                ends.push(bytes);
                self.chunks.push(*stream, bytes, now);
                Ok(true)
            }
        }
    }

    /// Looks at orders and limits.
    fn obey(&mut self, now: Instant) {
        if self.status.is_some() || self.ended && matches!(self.phase, Phase::Running) {
            // What came in time counts, even if the order came in the same moment.
            return;
        }
        let asked = self.orders.look(self.means.clock.now());
        let over = now.duration_since(self.started_at) >= self.task.limit;
        let (why, grace) = match (asked, &self.why) {
            (Some(stop @ (Stop::Lost | Stop::Now)), _) => (Why::Asked(stop), Duration::ZERO),
            (Some(stop @ Stop::Drain), None) => {
                (Why::Asked(stop), self.task.grace.min(DRAIN_GRACE))
            }
            (Some(Stop::Cancel(why, Some(grace))), None) => {
                (Why::Asked(Stop::Cancel(why, Some(grace))), grace)
            }
            (Some(stop), None) => (Why::Asked(stop), self.task.grace),
            (None, None) if over => (Why::Timeout(self.task.limit), self.task.grace),
            (None | Some(_), _) => return,
        };
        if grace.is_zero() {
            if !matches!(self.phase, Phase::Killed) {
                self.why = Some(why);
                self.kill();
            }
        } else {
            self.why = Some(why);
            self.child.signal(Signal::TERM);
            // A stopped process hears TERM only once it goes on.
            self.child.signal(Signal::CONT);
            self.phase = Phase::Ending {
                kill_at: now + grace,
            };
        }
    }

    fn kill(&mut self) {
        self.child.signal(Signal::KILL);
        self.phase = Phase::Killed;
    }

    /// Moves on to the next phase if it is time. Returns whether pipes are held, once the job is over.
    fn advance(&mut self, now: Instant, got_any: bool) -> io::Result<Option<bool>> {
        let closed = self.pipes.iter().all(|(_, pipe, _)| pipe.is_none());
        match self.phase {
            Phase::Running | Phase::Killed if self.ended => self.drain(now)?,
            Phase::Ending { kill_at } => {
                // Others of the group may still tidy up; as long as they do, one of them has the pipes.
                if self.ended && (closed || kill_at <= now) {
                    self.drain(now)?;
                } else if kill_at <= now {
                    self.kill();
                }
            }
            Phase::Draining {
                ref mut idle_at, ..
            } if got_any => *idle_at = now + IDLE,
            Phase::Draining { idle_at, last_at } if idle_at.min(last_at) <= now => {
                return Ok(Some(!closed));
            }
            Phase::Running | Phase::Killed | Phase::Draining { .. } => {}
        }
        let over = closed && matches!(self.phase, Phase::Draining { .. });
        Ok(over.then_some(false))
    }

    /// Kills what is left of the group, and gives its pipes a moment.
    fn drain(&mut self, now: Instant) -> io::Result<()> {
        self.status = Some(self.child.finish()?);
        self.phase = Phase::Draining {
            idle_at: now + IDLE,
            last_at: now + HELD,
        };
        Ok(())
    }

    fn finish(mut self, held: bool) -> Ran {
        let status = match self.status {
            Some(status) => Ok(status),
            None => self.child.finish(),
        };
        self.chunks.finish();
        let [(_, _, stdout), (_, _, stderr)] = self.pipes;
        report::ended(report::End {
            status,
            why: self.why,
            held,
            stdout: stdout.finish(),
            stderr: stderr.finish(),
            duration: self.started_at.elapsed(),
            at: self.means.clock.now(),
        })
    }
}

struct Ready {
    wake: bool,
    exit: bool,
    pipes: [bool; 2],
}
