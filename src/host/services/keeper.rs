//! The thread of one assignment: starts its process, again and again if that is wanted, and waits for it.
//!
//! The same thread does both, because the kernel ties the signal at the parent's death to the thread that forked.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::blank::Blank;
use super::instance::{Instance, Status};
use super::life::{Life, Outcome};
use super::means::Means;
use super::orders::Order;
use super::ports::Port;
use super::ready::{self, Probe, Question};
use super::restart::{self, End, History, Next};
use super::task::{self, Run};
use crate::host::runner::child;
use crate::host::runner::report::code_of;
use crate::protocol::JobId;
use crate::protocol::api::{Phase, WantedAssignment};
use crate::support::mask::Masker;
use crate::support::secret::Secret;

/// One read of a pipe; as large as the pipe.
const BUFFER: usize = 64 * 1024;
/// How much of the last output is told.
const LAST_OUTPUT: usize = 4096;
/// How often a port that is not yet free is looked at.
const PORT_LOOK: Duration = Duration::from_millis(50);
/// The name of the directory of services that name none.
const HOME: &str = "work";

/// Sees to one assignment.
pub(super) struct Keeper {
    wanted: WantedAssignment,
    instance: Arc<Instance>,
    means: Arc<Means>,
    wake: UnixStream,
    masker: Masker,
    history: History,
    port: Option<Port>,
    buffer: Vec<u8>,
}

/// What came of one start.
enum Lived {
    /// It was to end.
    Asked,
    /// It will never do.
    Failed(String),
    /// It ended, or did not begin, which may be better the next time.
    Ended {
        well: bool,
        why: String,
        ready_for: Duration,
    },
}

impl Keeper {
    pub(super) fn new(
        wanted: WantedAssignment,
        instance: Arc<Instance>,
        means: Arc<Means>,
        wake: UnixStream,
    ) -> Self {
        let secrets = wanted.secret_env.values().cloned().map(Secret::new);
        Self {
            masker: Masker::new(secrets),
            wanted,
            instance,
            means,
            wake,
            history: History::default(),
            port: None,
            buffer: vec![0; BUFFER],
        }
    }

    /// Keeps it until it is over.
    pub(super) fn keep(mut self) {
        // A fault of ours must not leave the coordinator waiting for a report.
        let over = catch_unwind(AssertUnwindSafe(|| self.lives())).unwrap_or_else(|_| {
            let text = "the host daemon had an internal error".to_owned();
            Status::over(Phase::Failed, Some(text))
        });
        self.port = None;
        if over.phase != Phase::Failed || !self.means.keep_failed {
            let home = self.instance.dir.join(HOME);
            if let Err(error) = std::fs::remove_dir_all(&home)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %home.display(), %error, "cannot remove a service's directory");
            }
        }
        self.instance.output.close();
        self.instance.set(over, &self.means);
    }

    fn lives(&mut self) -> Status {
        loop {
            let (well, why, ready_for) = match self.live() {
                Lived::Asked => return self.over(Phase::Stopped, None),
                Lived::Failed(why) => return self.over(Phase::Failed, Some(why)),
                Lived::Ended {
                    well,
                    why,
                    ready_for,
                } => (well, why, ready_for),
            };
            let end = End {
                well,
                ready_for,
                at: Instant::now(),
            };
            let rules = &self.means.times.restart;
            let next = restart::after(&mut self.history, self.wanted.restart, end, rules);
            let (pause, phase) = match next {
                Next::Over { well: true } => return self.over(Phase::Stopped, None),
                Next::Over { well: false } => return self.over(Phase::Failed, Some(why)),
                Next::Again {
                    pause,
                    crash_loop: true,
                } => (pause, Phase::CrashLoop),
                Next::Again { pause, .. } => (pause, Phase::Backoff),
            };
            self.say(phase, Some(why));
            if self.is_ordered_within(pause) {
                return self.over(Phase::Stopped, None);
            }
        }
    }

    /// Starts it and waits until it has ended.
    fn live(&mut self) -> Lived {
        if self.instance.orders().look() != Order::Run {
            return Lived::Asked;
        }
        let failed_to = |why| Lived::Ended {
            well: false,
            why,
            ready_for: Duration::ZERO,
        };
        let path = self.wanted.health.clone();
        if let Some(path) = path.as_deref().filter(|path| !ready::is_usable(path)) {
            return Lived::Failed(format!("health path `{path}` cannot be asked for"));
        }
        let Some(port) = self.port() else {
            return failed_to("no port is free for it".to_owned());
        };
        let home = self.instance.dir.join(HOME);
        let run = Run {
            id: JobId::fresh(),
            port,
            home: &home,
        };
        let task = match task::of(&self.means.kinds, &self.wanted, run) {
            Ok(task) => task,
            Err(why) => return Lived::Failed(why),
        };
        self.instance.output.begin();
        self.say(Phase::Starting, None);
        let (child, pipes) = match child::start(&task, &self.means.watch) {
            Ok(started) => started,
            Err(error) => {
                let why = format!("spawn {} {}", self.wanted.command, code_of(&error));
                return match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Lived::Failed(why),
                    _ => failed_to(why),
                };
            }
        };
        let question = Question {
            port,
            // One that is asked nothing more than to accept is not bothered with connections later.
            again: path.is_some().then_some(self.means.times.ask_again),
            path,
            speaks: self.wanted.protocol.unwrap_or_default(),
            every: self.means.times.probe,
        };
        let waker = self.instance.orders().waker();
        let probe = waker.map(|waker| Probe::start(question, waker));
        let probe = match probe.transpose() {
            Ok(probe) => probe,
            // The child is killed as it is dropped.
            Err(error) => return failed_to(format!("start a thread for it: {error}")),
        };
        let (instance, means) = (&self.instance, &self.means);
        let restarts = self.history.restarts;
        let secrets = &self.wanted.secret_env;
        let blank = || Blank::new(secrets.values().cloned().map(Secret::new));
        let life = Life {
            child,
            pipes: [Some(pipes.stdout), Some(pipes.stderr)],
            wake: &self.wake,
            orders: instance.orders(),
            output: &instance.output,
            blanks: [blank(), blank()],
            buffer: &mut self.buffer,
            times: &means.times,
            port,
            ready_within: Duration::from_millis(self.wanted.ready_ms),
            say: &|phase, error| {
                let status = running(phase, port, restarts);
                instance.set(Status { error, ..status }, means);
            },
        };
        match life.live(probe) {
            Outcome::Asked => Lived::Asked,
            Outcome::NotReady(why) => Lived::Failed(why),
            Outcome::Ended { status, ready_for } => {
                let (well, why) = match status {
                    Ok(status) => (status.success(), words(status)),
                    Err(error) => (false, format!("wait for its process: {error}")),
                };
                Lived::Ended {
                    well,
                    why,
                    ready_for,
                }
            }
        }
    }

    /// Returns the port it had, or where that is another's by now a fresh one.
    fn port(&mut self) -> Option<u16> {
        let until = Instant::now() + self.means.times.port;
        while let Some(port) = &self.port {
            if port.binds() {
                return Some(port.number());
            }
            // What it left behind needs a moment to be gone.
            if Instant::now() >= until || self.is_ordered_within(PORT_LOOK) {
                self.port = None;
            }
        }
        self.port = self.means.ports.take();
        self.port.as_ref().map(Port::number)
    }

    /// Waits. Returns whether it is to end.
    fn is_ordered_within(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            if self.instance.orders().look() != Order::Run {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let mut fds = [PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN)];
            let left = Timespec::try_from(left).ok();
            let _ = poll(&mut fds, left.as_ref());
            child::drain(&self.wake);
        }
    }

    /// Says how it stands, with what its last process printed if that has ended.
    fn say(&self, phase: Phase, error: Option<String>) {
        let status = self.status(phase, error);
        self.instance.set(status, &self.means);
    }

    fn over(&self, phase: Phase, error: Option<String>) -> Status {
        Status {
            port: None,
            over: true,
            ..self.status(phase, error)
        }
    }

    fn status(&self, phase: Phase, error: Option<String>) -> Status {
        let last = self.instance.output.last().filter(|_| error.is_some());
        Status {
            phase,
            port: self.port.as_ref().map(Port::number),
            last_output: last.map(|text| end_of(&self.masker.mask(&text)).to_owned()),
            error,
            restarts: self.history.restarts,
            over: false,
        }
    }
}

/// Returns how it stands while its process runs.
fn running(phase: Phase, port: u16, restarts: u32) -> Status {
    Status {
        phase,
        port: Some(port),
        restarts,
        ..Status::default()
    }
}

/// Returns as much of the end as may be told.
fn end_of(text: &str) -> &str {
    let least = text.len().saturating_sub(LAST_OUTPUT);
    let start = (least..=text.len()).find(|at| text.is_char_boundary(*at));
    start.and_then(|at| text.get(at..)).unwrap_or_default()
}

/// Says how a process ended.
fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
