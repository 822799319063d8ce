//! One process of a service from its start to its end: waits for output, readiness, the end and orders in one `poll`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;

use super::blank::Blank;
use super::drain;
use super::means::Times;
use super::orders::{Order, Orders};
use super::output::Output;
use super::ports;
use super::ready::Probe;
use crate::host::runner::child::{self, Child};
use crate::protocol::api::Phase;
use crate::support::span;

/// How often the end is looked for where nothing announces it.
const EXIT_LOOK: Duration = Duration::from_millis(20);
/// How many reads what an ended process left in its pipes gets: somebody may write there for ever.
const LAST_READS: usize = 64;

/// A process and what is needed to see it through.
pub(super) struct Life<'l> {
    pub child: Child<'l>,
    pub pipes: [Option<OwnedFd>; 2],
    pub wake: &'l UnixStream,
    pub orders: &'l Orders,
    pub output: &'l Output,
    /// What of either stream nobody is to read.
    pub blanks: [Blank; 2],
    pub buffer: &'l mut [u8],
    pub times: &'l Times,
    pub port: u16,
    pub ready_within: Duration,
    /// Told whenever it moves on.
    pub say: &'l dyn Fn(Phase, Option<String>),
}

/// How it ended.
pub(super) enum Outcome {
    /// It was to end.
    Asked,
    /// It was ended because it did not answer in time.
    NotReady(String),
    /// By itself.
    Ended {
        status: io::Result<ExitStatus>,
        ready_for: Duration,
    },
}

/// Where it stands.
enum Stage {
    Starting {
        until: Instant,
    },
    Ready,
    /// It was ready and answers no more.
    Ill,
    Draining {
        look_at: Instant,
    },
    Ending {
        kill_at: Instant,
    },
    Killed,
}

/// What is known of it so far.
struct Course {
    stage: Stage,
    probe: Option<Probe>,
    ready_at: Option<Instant>,
    asked: bool,
    not_ready: Option<String>,
    /// The process has ended.
    ended: bool,
}

impl Life<'_> {
    /// Sees it through.
    pub(super) fn live(mut self, probe: Option<Probe>) -> Outcome {
        let now = Instant::now();
        let mut course = Course {
            stage: Stage::Starting {
                until: now.checked_add(self.ready_within).unwrap_or(now),
            },
            probe,
            ready_at: None,
            asked: false,
            not_ready: None,
            ended: false,
        };
        loop {
            match self.turn(&mut course) {
                Ok(false) => {}
                Ok(true) => break,
                Err(error) => {
                    tracing::error!(%error, "cannot wait for a service");
                    break;
                }
            }
        }
        let ended_at = Instant::now();
        let status = self.finish();
        match course {
            Course {
                not_ready: Some(why),
                ..
            } => Outcome::NotReady(why),
            Course { asked: true, .. } => Outcome::Asked,
            Course { ready_at, .. } => Outcome::Ended {
                status,
                ready_for: ready_at.map_or(Duration::ZERO, |at| ended_at.duration_since(at)),
            },
        }
    }

    /// Waits for something and acts on it. Returns whether it is over.
    fn turn(&mut self, course: &mut Course) -> io::Result<bool> {
        let [woken, exited, stdout, stderr] = self.wait(course)?;
        if woken {
            child::drain(self.wake);
        }
        for (at, readable) in [stdout, stderr].into_iter().enumerate() {
            if readable {
                self.read(at)?;
            }
        }
        if !course.ended && (exited || self.child.exit_fd().is_none()) {
            course.ended = self.child.has_ended();
        }
        let now = Instant::now();
        self.obey(course, now);
        Ok(self.advance(course, now))
    }

    /// Returns what there is: a word for us, the end, output on either stream.
    fn wait(&self, course: &Course) -> io::Result<[bool; 4]> {
        let exit = self.child.exit_fd();
        let look = (!course.ended && exit.is_none()).then_some(EXIT_LOOK);
        let due = match course.stage {
            Stage::Starting { until } => Some(until),
            Stage::Draining { look_at } => Some(look_at),
            Stage::Ending { kill_at } => Some(kill_at),
            Stage::Ready | Stage::Ill | Stage::Killed => None,
        };
        let due = due.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = due
            .into_iter()
            .chain(look)
            .min()
            .map(Timespec::try_from)
            .transpose()
            .map_err(io::Error::other)?;
        let [stdout, stderr] = &self.pipes;
        let sources: [Option<BorrowedFd<'_>>; 4] = [
            Some(self.wake.as_fd()),
            exit.filter(|_| !course.ended),
            stdout.as_ref().map(AsFd::as_fd),
            stderr.as_ref().map(AsFd::as_fd),
        ];
        let mut fds: Vec<PollFd<'_>> = sources
            .iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut results = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(sources.map(|source| source.is_some() && results.next().unwrap_or(false)))
    }

    /// Reads once. Returns whether bytes came.
    fn read(&mut self, at: usize) -> io::Result<bool> {
        let Some(pipe) = self.pipes.get_mut(at) else {
            return Ok(false);
        };
        let Some(open) = pipe else { return Ok(false) };
        match child::read(open, self.buffer)? {
            None => Ok(false),
            Some([]) => {
                *pipe = None;
                self.flush(at);
                Ok(false)
            }
            Some(bytes) => {
                if let Some(blank) = self.blanks.get_mut(at) {
                    self.output.push(&blank.pass(bytes));
                }
                Ok(true)
            }
        }
    }

    /// Takes what was held back of a stream that has ended.
    fn flush(&mut self, at: usize) {
        let rest = self.blanks.get_mut(at).map(Blank::rest);
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            self.output.push(&rest);
        }
    }

    fn obey(&mut self, course: &mut Course, now: Instant) {
        match (self.orders.look(), &course.stage) {
            (Order::Run, _) | (_, Stage::Killed) => {}
            (Order::Now, _) => {
                course.asked = true;
                self.kill(course);
            }
            (Order::Drain { .. }, Stage::Starting { .. }) => {
                // Nobody was sent to it yet.
                course.asked = true;
                (self.say)(Phase::Draining, None);
                self.end(course, now);
            }
            (Order::Drain { .. }, Stage::Ready | Stage::Ill) => {
                course.asked = true;
                course.probe = None;
                (self.say)(Phase::Draining, None);
                course.stage = Stage::Draining { look_at: now };
            }
            (Order::Drain { .. }, Stage::Draining { .. } | Stage::Ending { .. }) => {}
        }
    }

    /// Moves on if it is time. Returns whether it is over.
    fn advance(&mut self, course: &mut Course, now: Instant) -> bool {
        match course.stage {
            Stage::Starting { until } => {
                if course.ended {
                    return true;
                }
                let ready = course.probe.as_ref().is_some_and(Probe::is_ready);
                if ready {
                    course.ready_at = Some(now);
                    course.stage = Stage::Ready;
                    (self.say)(Phase::Ready, None);
                } else if until <= now {
                    let last = course.probe.take().and_then(|probe| probe.last());
                    let last = last.map(|last| format!(": {last}")).unwrap_or_default();
                    let within = span::human(self.ready_within);
                    course.not_ready = Some(format!("not ready within {within}{last}"));
                    self.end(course, now);
                }
                false
            }
            Stage::Draining { look_at } => {
                if !course.ended && look_at <= now {
                    self.look(course, now);
                }
                course.ended
            }
            Stage::Ending { kill_at } => {
                // Others of the group may still tidy up; as long as they do, one of them has the pipes.
                let closed = self.pipes.iter().all(Option::is_none);
                if kill_at <= now && !course.ended {
                    self.kill(course);
                }
                course.ended && (closed || kill_at <= now)
            }
            Stage::Ready | Stage::Ill => {
                if !course.ended {
                    self.watch(course);
                }
                course.ended
            }
            Stage::Killed => course.ended,
        }
    }

    /// Says so if it ceased to answer, or answers again.
    fn watch(&self, course: &mut Course) {
        let Some(probe) = &course.probe else { return };
        match (&course.stage, probe.is_ready()) {
            (Stage::Ready, false) => {
                let last = probe.last().unwrap_or_default();
                (self.say)(Phase::Starting, Some(format!("it answers no more: {last}")));
                course.stage = Stage::Ill;
            }
            (Stage::Ill, true) => {
                (self.say)(Phase::Ready, None);
                course.stage = Stage::Ready;
            }
            _ => {}
        }
    }

    /// Ends it if its clients have left it.
    fn look(&self, course: &mut Course, now: Instant) {
        let (waited, most) = match self.orders.look() {
            Order::Drain { since, until } => {
                (now.duration_since(since), until.duration_since(since))
            }
            Order::Run | Order::Now => return,
        };
        let open = drain::open_connections(self.port);
        if drain::is_done(waited, open, self.times.drain_least, most) {
            self.end(course, now);
        } else {
            let left = most.saturating_sub(waited);
            course.stage = Stage::Draining {
                look_at: now + self.times.drain_look.min(left),
            };
        }
    }

    fn end(&self, course: &mut Course, now: Instant) {
        self.child.signal(Signal::TERM);
        // A stopped process hears TERM only once it goes on.
        self.child.signal(Signal::CONT);
        course.stage = Stage::Ending {
            kill_at: now + self.times.grace,
        };
    }

    fn kill(&self, course: &mut Course) {
        self.child.signal(Signal::KILL);
        course.stage = Stage::Killed;
    }

    /// Kills what is left of the group, takes what it printed last, and waits until it is gone.
    fn finish(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.finish();
        for at in 0..self.pipes.len() {
            let mut reads = 0;
            while reads < LAST_READS && self.read(at).unwrap_or(false) {
                reads += 1;
            }
            self.flush(at);
        }
        // What is dead and not yet buried keeps the group's number, but no port.
        let gone = || self.child.is_gone() || ports::binds(self.port);
        let until = Instant::now() + self.times.gone;
        while !gone() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        status
    }
}
