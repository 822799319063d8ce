//! Runs one command on a connection under the remote supervisor, and ends it for certain.
//!
//! Three clocks run beside the output: the task's limit, the grace between TERM and KILL, and the
//! time a pipe may stay open after the command is gone. None of them waits for the output to be read.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::fleet::capture::Capture;
use crate::fleet::remote::Command;
use crate::fleet::run::RunEvent;
use crate::ssh::exec::{Events, Stdin};
use crate::ssh::framing::{Step, Unframer};
use crate::ssh::shell::{Code, Marker, command_line, header};
use crate::ssh::{Connection, Error, Event, Exec, Exit};
use crate::support::shutdown::{Shutdown, Urgency};

static SUPERVISOR: LazyLock<String> =
    LazyLock::new(|| command_line(include_str!("../../templates/supervisor.sh")));
static SIGNAL: LazyLock<String> =
    LazyLock::new(|| command_line(include_str!("../../templates/signal.sh")));

/// A login shell that has not run our script by then never will.
const START_LIMIT: Duration = Duration::from_secs(30);

/// After the command is gone its pipes may be idle this long before we ask who holds them.
const IDLE: Duration = Duration::from_millis(100);
/// Background processes of a finished command may write this long; then they are ended.
const HELD: Duration = Duration::from_secs(2);
/// After KILL, or when nobody holds the pipes, the channel must close within this time.
const LAST_CALL: Duration = Duration::from_secs(5);
/// How long we stay to see a task killed once the user has asked us twice to go.
const LEAVE: Duration = Duration::from_secs(1);
/// What waits for a slow reader of live output before the rest is left to the record, in bytes.
const MOST_UNSEEN: usize = 4 << 20;

/// Which stream a piece of output belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes output as it arrives, for showing it. May be slow.
pub type Live = tokio::sync::mpsc::Sender<RunEvent>;

/// Limits of one task.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long it may run; none = for ever.
    pub timeout: Option<Duration>,
    /// When the whole run must end.
    pub deadline: Option<Instant>,
    /// Between TERM and KILL.
    pub grace: Duration,
}

/// Why a task was ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It ran into its limit, or the run did.
    TimedOut,
    /// The user asked.
    Stopped,
}

/// Why a task never ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotStarted {
    /// The program is not installed.
    Missing(String),
    /// The directory does not exist.
    NoDirectory(String),
    /// The host's shell did not run our script; this is what it said instead.
    Shell(String),
}

/// How a supervised command came out.
#[derive(Debug)]
pub struct Finished {
    /// Exit status or signal; none = the host never told.
    pub exit: Option<Exit>,
    /// Set if we ended it.
    pub ended: Option<Ended>,
    /// Set if it never ran.
    pub not_started: Option<NotStarted>,
    /// Set if the connection died first.
    pub lost: Option<Error>,
    /// Whether anything was sent. Not, and it has not run for certain.
    pub sent: bool,
    /// Whether something still held its pipes when it was gone.
    pub pipe_held: bool,
    /// Live output that was not shown because its reader was too slow, in bytes.
    pub unseen: u64,
    /// From its start to its end.
    pub took: Duration,
}

/// Where the output of one task goes.
#[derive(Debug)]
pub struct Sink {
    /// The record of stdout.
    pub stdout: Capture,
    /// The record of stderr.
    pub stderr: Capture,
    /// The live view, and the number by which it knows this task.
    pub live: Option<(usize, Live)>,
}

/// Runs `command` and returns when nothing of it can say anything more.
pub async fn run(
    connection: &Connection,
    command: &Command,
    limits: Limits,
    sink: &mut Sink,
    shutdown: &mut Shutdown,
) -> Finished {
    let marker = Marker::fresh();
    let mut head = header(&marker, [command.settings(limits.grace), command.code()]);
    let mut line = Cow::Borrowed(SUPERVISOR.as_str());
    if let Some(sudo) = &command.sudo {
        // sudo reads its password from the line before ours. Where it asks for none, the supervisor
        // passes over that line, because it does not look like a marker.
        line = Cow::Owned(line.replacen("exec ", &format!("exec {} ", sudo.prefix()), 1));
        if let Some(password) = &sudo.password {
            head = [password.expose().as_bytes(), b"\n", &head].concat();
        }
    }
    let Exec { events, stdin } = match connection.exec(&line).await {
        Ok(exec) => exec,
        Err(error) => return Finished::lost(error, false),
    };
    if let Err(error) = stdin.write(head.into()).await {
        return Finished::lost(error, true);
    }
    let now = Instant::now();
    let by_timeout = limits.timeout.map(|limit| now + limit);
    let mut task = Task {
        connection,
        events,
        stdin,
        sink,
        stdout: Unframer::new(&marker),
        stderr: Unframer::new(&marker),
        backlog: VecDeque::new(),
        backlog_bytes: 0,
        grace: limits.grace,
        end_at: [by_timeout, limits.deadline].into_iter().flatten().min(),
        start_by: Some(now + START_LIMIT),
        word: marker.reply(),
        kill_at: None,
        give_up_at: None,
        group: None,
        exited_at: None,
        idle_at: None,
        started_at: now,
        result: Finished::new(),
    };
    task.run(shutdown).await;
    task.into_result()
}

struct Task<'c, 's> {
    connection: &'c Connection,
    events: Events<'c>,
    stdin: Stdin<'c>,
    sink: &'s mut Sink,
    stdout: Unframer,
    stderr: Unframer,
    backlog: VecDeque<(Stream, Bytes)>,
    backlog_bytes: usize,
    grace: Duration,
    end_at: Option<Instant>,
    start_by: Option<Instant>,
    /// What the task's processes carry in their environment.
    word: String,
    kill_at: Option<Instant>,
    give_up_at: Option<Instant>,
    group: Option<u64>,
    exited_at: Option<Instant>,
    idle_at: Option<Instant>,
    started_at: Instant,
    result: Finished,
}

impl Task<'_, '_> {
    async fn run(&mut self, shutdown: &mut Shutdown) {
        // The first signal asks the task to end, the second one ends us.
        let mut awaited = Urgency::Stop;
        let mut leaving = false;
        loop {
            // A slow reader holds the output back, but never the clocks; and once we end the task
            // its output is read in any case, or the end could not get through.
            let may_read = self.backlog.is_empty() || self.result.ended.is_some();
            let live = self.sink.live.as_ref().map(|(_, live)| live.clone());
            tokio::select! {
                biased;
                () = shutdown.reached(awaited), if !leaving => {
                    self.result.ended.get_or_insert(Ended::Stopped);
                    if shutdown.urgency() >= Urgency::Now {
                        // Stay until the signal is on its way: gone before, it would die with us.
                        leaving = true;
                        self.kill().await;
                        self.give_up_at = Some(Instant::now() + LEAVE);
                        continue;
                    }
                    awaited = Urgency::Now;
                    self.end(Ended::Stopped).await;
                }
                () = at(self.end_at), if self.kill_at.is_none() => self.end(Ended::TimedOut).await,
                () = at(self.start_by) => {
                    let said = match self.stdout.noise() {
                        said if said.is_empty() => "nothing".to_owned(),
                        said => said,
                    };
                    self.result.not_started = Some(NotStarted::Shell(said));
                    return self.stdin.close().await;
                }
                () = at(self.kill_at), if self.give_up_at.is_none() => self.kill().await,
                () = at(self.give_up_at), if may_read => {
                    self.stdin.close().await;
                    return self.drain_backlog().await;
                }
                // Idle is who has nothing to say, not who waits for our reader.
                () = at(self.idle_at), if may_read => self.after_exit().await,
                () = offer(live.as_ref(), self.sink.live.as_ref().map_or(0, |(n, _)| *n), &mut self.backlog, &mut self.backlog_bytes), if !self.backlog.is_empty() => {}
                event = self.events.next(), if may_read => match event {
                    Ok(Event::Closed) => return self.drain_backlog().await,
                    Ok(event) => self.take(event),
                    Err(error) => {
                        self.result.lost = Some(error);
                        return self.drain_backlog().await;
                    }
                },
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Stdout(bytes) => match self.stdout.push(bytes) {
                Step::Waiting => {}
                Step::Opened { words, rest } => {
                    self.opened(&words);
                    self.output(Stream::Stdout, rest);
                }
                Step::Payload(bytes) => self.output(Stream::Stdout, bytes),
            },
            Event::Stderr(bytes) => match self.stderr.push(bytes) {
                Step::Waiting => {}
                Step::Opened { rest, .. } => self.output(Stream::Stderr, rest),
                Step::Payload(bytes) => self.output(Stream::Stderr, bytes),
            },
            Event::Exit(exit) => {
                self.result.exit = Some(exit);
                let now = Instant::now();
                self.exited_at = Some(now);
                // Whoever has ended cannot run into its limit, however slowly its output is read.
                self.end_at = None;
                self.result.took = now - self.started_at;
                self.idle_at = Some(now + IDLE);
            }
            Event::Closed => {}
        }
        if self.exited_at.is_some() && self.idle_at.is_some() {
            let held_until = self.exited_at.map(|at| at + HELD);
            let idle = Instant::now() + IDLE;
            self.idle_at = Some(held_until.map_or(idle, |held| idle.min(held)));
        }
    }

    fn opened(&mut self, words: &str) {
        self.start_by = None;
        let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
        match word {
            "run" => {
                self.group = rest.trim().parse().ok();
                self.started_at = Instant::now();
            }
            "noinput" => {
                let why = format!("cannot open its input {rest}");
                self.result.not_started = Some(NotStarted::Shell(why));
            }
            "missing" => self.result.not_started = Some(NotStarted::Missing(rest.to_owned())),
            "nodir" => {
                self.result.not_started = Some(NotStarted::NoDirectory(rest.trim().to_owned()))
            }
            other => self.result.not_started = Some(NotStarted::Shell(other.to_owned())),
        }
    }

    fn output(&mut self, stream: Stream, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let capture = match stream {
            Stream::Stdout => &mut self.sink.stdout,
            Stream::Stderr => &mut self.sink.stderr,
        };
        if let Err(error) = capture.push(&bytes) {
            tracing::warn!(%error, "cannot keep a task's output on this machine");
        }
        if self.sink.live.is_none() {
            return;
        }
        if self.backlog_bytes > MOST_UNSEEN {
            self.result.unseen += bytes.len() as u64;
            return;
        }
        self.backlog_bytes += bytes.len();
        self.backlog.push_back((stream, bytes));
    }

    /// Asks the task to end; KILL follows after the grace.
    async fn end(&mut self, why: Ended) {
        self.result.ended.get_or_insert(why);
        self.end_at = None;
        if self.kill_at.is_none() {
            self.kill_at = Some(Instant::now() + self.grace);
            let _ = self.stdin.write(Bytes::from_static(b"TERM\n")).await;
        }
    }

    async fn kill(&mut self) {
        self.kill_at = Some(Instant::now());
        self.give_up_at = Some(Instant::now() + LAST_CALL);
        let _ = self.stdin.write(Bytes::from_static(b"KILL\n")).await;
        if self.exited_at.is_some() {
            // With the command gone sshd has closed its stdin, so the watcher cannot hear us.
            self.signal_rest("KILL").await;
        }
    }

    /// The command is gone, its pipes are idle and still open: find out who holds them.
    async fn after_exit(&mut self) {
        self.idle_at = None;
        self.end_at = None;
        if self.give_up_at.is_some() {
            return;
        }
        let held_for = self.exited_at.map_or(Duration::ZERO, |at| at.elapsed());
        let has_members = self.signal_rest("0").await;
        if !has_members {
            // Only what is still on its way to us keeps the channel open; it may take its time.
            self.give_up_at = Some(Instant::now() + LAST_CALL.max(held_for));
        } else if held_for >= HELD || self.result.ended.is_some() {
            self.result.pipe_held = true;
            self.give_up_at = Some(Instant::now() + LAST_CALL);
            self.signal_rest("KILL").await;
        } else {
            self.result.pipe_held = true;
            self.idle_at = self.exited_at.map(|at| at + HELD);
        }
    }

    /// Signals what is left of the task, or asks with `0` whether anything is.
    async fn signal_rest(&self, signal: &'static str) -> bool {
        let Some(group) = self.group else {
            return false;
        };
        let marker = Marker::fresh();
        let code = Code::new().raw("s=").raw(signal).raw("; p=").number(group);
        let code = code.raw("; w=").word(self.word.as_bytes());
        let stdin = header(&marker, [code]);
        let asked = self.connection.run(&SIGNAL, stdin, 64 << 10);
        match tokio::time::timeout(LAST_CALL, asked).await {
            Ok(Ok(answer)) => {
                let yes = format!("{} yes", marker.reply());
                String::from_utf8_lossy(&answer.stdout).contains(&yes)
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    async fn drain_backlog(&mut self) {
        if let Some((unit, live)) = self.sink.live.clone() {
            while let Some((stream, bytes)) = self.backlog.pop_front() {
                if live
                    .send(RunEvent::Output {
                        unit,
                        stream,
                        bytes,
                    })
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }
    }

    fn into_result(mut self) -> Finished {
        if self.result.took.is_zero() {
            self.result.took = self.started_at.elapsed();
        }
        let silent = !self.stdout.is_open();
        if silent
            && self.result.not_started.is_none()
            && self.result.lost.is_none()
            && self.result.ended.is_none()
        {
            let mut said = self.stderr.noise();
            if said.is_empty() {
                said = self.stdout.noise();
            }
            self.result.not_started = Some(NotStarted::Shell(said));
        }
        self.result
    }
}

/// Hands the oldest waiting piece to the live view. Cancel safe: the piece leaves the queue only
/// when there is room for it.
async fn offer(
    live: Option<&Live>,
    unit: usize,
    backlog: &mut VecDeque<(Stream, Bytes)>,
    backlog_bytes: &mut usize,
) {
    let Some(live) = live else {
        backlog.clear();
        return;
    };
    let room = live.reserve().await;
    if let Some((stream, bytes)) = backlog.pop_front() {
        *backlog_bytes = backlog_bytes.saturating_sub(bytes.len());
        if let Ok(room) = room {
            room.send(RunEvent::Output {
                unit,
                stream,
                bytes,
            });
        }
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

impl Finished {
    fn new() -> Self {
        Self {
            exit: None,
            ended: None,
            not_started: None,
            lost: None,
            sent: true,
            pipe_held: false,
            unseen: 0,
            took: Duration::ZERO,
        }
    }

    fn lost(error: Error, sent: bool) -> Self {
        Self {
            lost: Some(error),
            sent,
            ..Self::new()
        }
    }
}
