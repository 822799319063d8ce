//! One command from its start to its end.
//!
//! Three clocks run beside the output: the task's limit, the grace between TERM and KILL, and the
//! time a pipe may stay open after the command is gone. None of them waits for the output to be read.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::backlog::Backlog;
use super::way::{Said, Way};
use super::{Ended, Finished, LAST_CALL, Limits, NotStarted, Sink, Stream, at, rest};
use crate::ssh::Connection;
use crate::support::shutdown::{Shutdown, Urgency};

/// A login shell that has not run our script by then never will.
const START_LIMIT: Duration = Duration::from_secs(30);
/// After the command is gone its pipes may be idle this long before we ask who holds them.
const IDLE: Duration = Duration::from_millis(100);
/// Background processes of a finished command may write this long; then they are ended.
const HELD: Duration = Duration::from_secs(2);
/// How long we stay to see a task killed once the user has asked us twice to go.
const LEAVE: Duration = Duration::from_secs(1);

pub(super) struct Task<'c, 's> {
    connection: &'c Connection,
    way: Way<'c>,
    sink: &'s mut Sink,
    backlog: Backlog,
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
    /// It has said that nothing more will come.
    is_over: bool,
    result: Finished,
}

impl<'c, 's> Task<'c, 's> {
    /// Takes over a command that has just been sent.
    pub(super) fn new(
        connection: &'c Connection,
        way: Way<'c>,
        word: String,
        limits: Limits,
        sink: &'s mut Sink,
    ) -> Self {
        let now = Instant::now();
        let by_timeout = limits.timeout.map(|limit| now + limit);
        let start_by = match way {
            Way::Session(_) => Some(now + START_LIMIT),
            // It has spoken before.
            Way::Runner(_) => None,
        };
        Self {
            connection,
            way,
            backlog: Backlog::new(sink.live.clone()),
            sink,
            grace: limits.grace,
            end_at: [by_timeout, limits.deadline].into_iter().flatten().min(),
            start_by,
            word,
            kill_at: None,
            give_up_at: None,
            group: None,
            exited_at: None,
            idle_at: None,
            started_at: now,
            is_over: false,
            result: Finished::new(),
        }
    }

    pub(super) async fn run(&mut self, shutdown: &mut Shutdown) {
        // The first signal asks the task to end, the second one ends us.
        let mut awaited = Urgency::Stop;
        let mut leaving = false;
        loop {
            // A slow reader holds the output back, but never the clocks; and once we end the task
            // its output is read in any case, or the end could not get through.
            let may_read = self.backlog.is_empty() || self.result.ended.is_some();
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
                () = at(self.start_by) => return self.never_began().await,
                () = at(self.kill_at), if self.give_up_at.is_none() => self.kill().await,
                () = at(self.give_up_at), if may_read => {
                    self.way.close().await;
                    return self.backlog.drain().await;
                }
                // Idle is who has nothing to say, not who waits for our reader.
                () = at(self.idle_at), if may_read => self.after_exit().await,
                () = self.backlog.offer(), if !self.backlog.is_empty() => {}
                said = self.way.next(), if may_read => {
                    let over = match said {
                        Ok(said) => self.take(said).await,
                        Err(error) => {
                            self.result.lost = Some(error);
                            true
                        }
                    };
                    if over {
                        return self.backlog.drain().await;
                    }
                }
            }
        }
    }

    async fn never_began(&mut self) {
        let said = match &self.way {
            Way::Session(session) => session.printed(),
            Way::Runner(_) => String::new(),
        };
        let said = Some(said).filter(|said| !said.is_empty());
        let said = said.unwrap_or_else(|| "nothing".to_owned());
        self.result.not_started = Some(NotStarted::Shell(said));
        self.way.close().await;
    }

    /// Takes what was said, and what came with it. Returns whether that was all.
    async fn take(&mut self, said: Said) -> bool {
        let mut next = Some(said);
        while let Some(said) = next {
            match said {
                Said::Words(words) => self.opened(&words),
                Said::Output(stream, bytes) => self.output(stream, bytes),
                Said::Exit(exit) => {
                    self.result.exit = Some(exit);
                    let now = Instant::now();
                    self.exited_at = Some(now);
                    // Whoever has ended cannot run into its limit, however slowly its output is read.
                    self.end_at = None;
                    self.result.took = now - self.started_at;
                    self.idle_at = Some(now + IDLE);
                }
                Said::Over => {
                    self.is_over = true;
                    return true;
                }
                Said::Deserted => {
                    rest::signal(self.connection, self.group, &self.word, "KILL").await;
                    return true;
                }
            }
            next = self.way.queued();
        }
        if self.exited_at.is_some() && self.idle_at.is_some() {
            let held_until = self.exited_at.map(|at| at + HELD);
            let idle = Instant::now() + IDLE;
            self.idle_at = Some(held_until.map_or(idle, |held| idle.min(held)));
        }
        false
    }

    fn opened(&mut self, words: &str) {
        self.start_by = None;
        let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
        match word {
            "run" => {
                self.group = rest.trim().parse().ok();
                // A runner may say so together with all else.
                if matches!(self.way, Way::Session(_)) {
                    self.started_at = Instant::now();
                }
            }
            "noinput" => {
                let why = format!("cannot open its input {rest}");
                self.result.not_started = Some(NotStarted::Shell(why));
            }
            "missing" => self.result.not_started = Some(NotStarted::Missing(rest.to_owned())),
            "nodir" => {
                self.result.not_started = Some(NotStarted::NoDirectory(rest.trim().to_owned()))
            }
            "failed" => self.result.not_started = Some(NotStarted::Shell(rest.to_owned())),
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
        self.backlog.push(stream, bytes);
    }

    /// Asks the task to end; KILL follows after the grace.
    async fn end(&mut self, why: Ended) {
        self.result.ended.get_or_insert(why);
        self.end_at = None;
        if self.kill_at.is_none() {
            self.kill_at = Some(Instant::now() + self.grace);
            self.way.order("TERM").await;
        }
    }

    async fn kill(&mut self) {
        self.kill_at = Some(Instant::now());
        self.give_up_at = Some(Instant::now() + LAST_CALL);
        self.way.order("KILL").await;
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

    async fn signal_rest(&self, signal: &'static str) -> bool {
        // Without a group nothing of it has started.
        self.group.is_some() && rest::signal(self.connection, self.group, &self.word, signal).await
    }

    /// Returns how it came out, and the way back, with whether that can serve another command: nothing of this one
    /// had to be ended.
    pub(super) fn into_result(mut self) -> (Way<'c>, Finished, bool) {
        self.result.unseen = self.backlog.unseen;
        if self.result.took.is_zero() {
            self.result.took = self.started_at.elapsed();
        }
        if let Way::Session(session) = &self.way
            && !session.has_begun()
            && self.result.not_started.is_none()
            && self.result.lost.is_none()
            && self.result.ended.is_none()
        {
            self.result.not_started = Some(NotStarted::Shell(session.noise()));
        }
        let is_clean = self.is_over && self.result.ended.is_none() && !self.result.pipe_held;
        (self.way, self.result, is_clean)
    }
}
