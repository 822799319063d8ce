//! The watcher: a small process beside the daemon that ends the daemon's jobs when the daemon is gone,
//! whatever killed it.
//!
//! While the daemon lives it ends what a job left behind in another session, and keeps the list of
//! groups on disk for the case that both are killed at once.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::groups::{self, Group};
use super::processes::{self, Process};
use super::record::{self, Record};
use crate::protocol::{AttemptNo, JobId};

/// Records are read in heaps: short jobs should not wake this process twice each.
const NAP: Duration = Duration::from_millis(20);
/// How often the list on disk is renewed while it changes.
const WRITE_EVERY: Duration = Duration::from_millis(100);
/// How often left-overs of ended jobs are looked for, if any job ended.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long jobs may tidy up once the daemon is gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the daemon says first, on one line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::host) struct Opening {
    /// The mark in the environment of its jobs.
    pub mark: String,
    /// Where the list of groups is kept.
    pub list: PathBuf,
}

/// Watches until the daemon at the other end of `input` is gone, then ends its jobs.
///
/// # Errors
/// When `input` cannot be read.
pub fn serve(input: impl AsFd) -> io::Result<()> {
    // Its own session: a Ctrl-C at the daemon's terminal must not end the watcher first.
    let _ = rustix::process::setsid();
    let mut input = Input::new(input);
    let Some(opening) = input.opening()? else {
        return Ok(());
    };
    let mut watcher = Watcher {
        opening,
        groups: HashMap::new(),
        list_stale: false,
        // A former watcher may have had no time to look.
        ended_any: true,
        written_at: Instant::now(),
        swept_at: Instant::now(),
    };
    while input.fill(watcher.next_turn())? {
        watcher.take(&mut input);
        watcher.write_list();
        watcher.sweep(&mut input)?;
        std::thread::sleep(NAP);
    }
    watcher.take(&mut input);
    watcher.end_all();
    Ok(())
}

struct Watcher {
    opening: Opening,
    groups: HashMap<i32, (JobId, AttemptNo, u64)>,
    list_stale: bool,
    ended_any: bool,
    written_at: Instant,
    swept_at: Instant,
}

impl Watcher {
    fn take<F: AsFd>(&mut self, input: &mut Input<F>) {
        while let Some(record) = input.record() {
            self.list_stale = true;
            match record {
                Record::Began(pid, job, attempt) => {
                    self.groups.insert(pid, (job, attempt, 0));
                }
                Record::Ended(pid) => {
                    self.groups.remove(&pid);
                    self.ended_any = true;
                }
            }
        }
    }

    /// Returns when something has to be done even if no record comes.
    fn next_turn(&self) -> Option<Duration> {
        let list = self.list_stale.then(|| self.written_at + WRITE_EVERY);
        let sweep = self.ended_any.then(|| self.swept_at + SWEEP_EVERY);
        let at = [list, sweep].into_iter().flatten().min()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    fn write_list(&mut self) {
        if !self.list_stale || self.written_at.elapsed() < WRITE_EVERY {
            return;
        }
        (self.list_stale, self.written_at) = (false, Instant::now());
        let list = self.list();
        if let Err(error) = groups::write(&self.opening.list, list) {
            tracing::warn!(%error, "cannot write the list of process groups");
        }
    }

    fn list(&mut self) -> Vec<Group> {
        // Only now: most jobs are over before anybody wants to know when they started.
        for (pid, (_, _, start)) in &mut self.groups {
            if *start == 0 {
                *start = processes::start_of(*pid).unwrap_or(0);
            }
        }
        let group = |(pid, (job, _, start)): (&i32, &(JobId, AttemptNo, u64))| Group {
            pid: *pid,
            start: *start,
            job: job.to_string(),
        };
        self.groups.iter().map(group).collect()
    }

    /// Ends processes of jobs that are over: those that left the job's session.
    fn sweep<F: AsFd>(&mut self, input: &mut Input<F>) -> io::Result<()> {
        if !self.ended_any || self.swept_at.elapsed() < SWEEP_EVERY {
            return Ok(());
        }
        (self.ended_any, self.swept_at) = (false, Instant::now());
        let marked: Vec<Process> = processes::all()
            .into_iter()
            .filter(|process| process.mark.as_deref() == Some(self.opening.mark.as_str()))
            .collect();
        // A job that started while we looked has said so before its program ran.
        input.fill(Some(Duration::ZERO))?;
        self.take(input);
        let running: Vec<(String, String)> = self
            .groups
            .values()
            .map(|(job, attempt, _)| (job.to_string(), attempt.to_string()))
            .collect();
        for process in marked {
            let runs = running.iter().any(|(job, attempt)| {
                process.job.as_ref() == Some(job) && process.attempt.as_ref() == Some(attempt)
            });
            if !runs {
                processes::signal(&process, Signal::KILL);
                // What it started meanwhile is found in the next round.
                self.ended_any = true;
            }
        }
        Ok(())
    }

    fn end_all(&mut self) {
        let groups = self.list();
        let mark = &self.opening.mark;
        processes::end(PATIENCE, |process| {
            process.mark.as_ref() == Some(mark) || groups::holds(&groups, process)
        });
        if !cfg!(target_os = "linux") {
            super::end_groups_blindly(&groups);
        }
        let _ = std::fs::remove_file(&self.opening.list);
    }
}

/// What came and was not yet taken.
struct Input<F> {
    fd: F,
    bytes: Vec<u8>,
    at: usize,
}

impl<F: AsFd> Input<F> {
    fn new(fd: F) -> Self {
        Self {
            fd,
            bytes: Vec::new(),
            at: 0,
        }
    }

    /// Waits and reads what is there. Returns whether more can come.
    fn fill(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout
            .map(Timespec::try_from)
            .transpose()
            .map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(true),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        self.bytes.drain(..self.at);
        self.at = 0;
        let mut piece = [0; 16 * 1024];
        match rustix::io::read(&self.fd, &mut piece) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.bytes
                    .extend_from_slice(piece.get(..count).unwrap_or_default());
                Ok(true)
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(true),
            // The other end was killed with records unread.
            Err(rustix::io::Errno::CONNRESET) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn opening(&mut self) -> io::Result<Option<Opening>> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                self.at = end + 1;
                let line = self.bytes.get(..end).unwrap_or_default();
                return Ok(Some(serde_json::from_slice(line)?));
            }
            if !self.fill(None)? {
                return Ok(None);
            }
        }
    }

    fn record(&mut self) -> Option<Record> {
        loop {
            let bytes = self.bytes.get(self.at..self.at + record::SIZE)?;
            self.at += record::SIZE;
            if let Some(record) = record::read(bytes) {
                return Some(record);
            }
        }
    }
}
