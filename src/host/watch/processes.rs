//! The process table, read for what belongs to a job: by session, or by the mark in its environment
//! that even a new session inherits.
//!
//! Where there is no `/proc` nothing is found; there only process groups are ended.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::protocol::AttemptNo;

/// The variable with the daemon's mark.
pub(in crate::host) const MARK_VARIABLE: &str = "SKYCLAW_HOST_MARK";
/// The variable with the job's id.
pub(in crate::host) const JOB_VARIABLE: &str = "SKYCLAW_JOB_ID";
/// The variable with the number of the try.
pub(in crate::host) const ATTEMPT_VARIABLE: &str = "SKYCLAW_ATTEMPT";
/// The variable with which a service's processes say which run of it they are of. The id has the form of a job's.
pub(in crate::host) const SERVICE_RUN_VARIABLE: &str = "SKYCLAW_SERVICE_RUN";
/// Which try a run of a service is: each has an id of its own.
pub(in crate::host) const ONLY: AttemptNo = AttemptNo::new(1);

/// Rounds of looking for what was started while we looked.
const ROUNDS: usize = 50;
/// How often we look whether what was asked to end has ended.
const LOOK: Duration = Duration::from_millis(50);

/// One living process of this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host) struct Process {
    pub pid: i32,
    /// When it started, in clock ticks since boot: with the id it names a process for good.
    pub start: u64,
    pub session: i32,
    /// The daemon's mark, the job and the attempt, as far as its environment has them.
    pub mark: Option<String>,
    pub job: Option<String>,
    pub attempt: Option<String>,
}

/// Returns every living process but this one. Zombies are left out: they run nothing.
pub(in crate::host) fn all() -> Vec<Process> {
    let own = std::process::id().cast_signed();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .filter_map(read)
        .collect()
}

/// Returns the process with this id, if it lives.
pub(in crate::host) fn read(pid: i32) -> Option<Process> {
    let (mut process, place) = look(pid)?;
    let environment = std::fs::read(place.join("environ")).unwrap_or_default();
    for variable in environment.split(|byte| *byte == 0) {
        let Some((name, value)) = split(variable) else {
            continue;
        };
        match name {
            MARK_VARIABLE => process.mark = Some(value),
            JOB_VARIABLE => process.job = Some(value),
            ATTEMPT_VARIABLE => process.attempt = Some(value),
            SERVICE_RUN_VARIABLE => {
                // As the watcher is told of it.
                (process.job, process.attempt) = (Some(value), Some(ONLY.to_string()));
            }
            _ => {}
        }
    }
    Some(process)
}

/// Returns the process with this id, if it lives, without a look into its environment.
pub(in crate::host) fn brief(pid: i32) -> Option<Process> {
    look(pid).map(|(process, _)| process)
}

/// Returns when the process with this id started, if it lives.
pub(in crate::host) fn start_of(pid: i32) -> Option<u64> {
    brief(pid).map(|process| process.start)
}

/// Returns the process and where its environment is to be read.
fn look(pid: i32) -> Option<(Process, PathBuf)> {
    let base = PathBuf::from(format!("/proc/{pid}"));
    let (alive, start, session) = stat(&base)?;
    let place = if alive {
        base
    } else {
        // Its main thread has ended, and what is said of that is said of the process. Others may go on.
        let tasks = std::fs::read_dir(base.join("task")).ok()?;
        let mut tasks = tasks.flatten().map(|entry| entry.path());
        tasks.find(|task| stat(task).is_some_and(|(alive, ..)| alive))?
    };
    let process = Process {
        pid,
        start,
        session,
        mark: None,
        job: None,
        attempt: None,
    };
    Some((process, place))
}

fn split(variable: &[u8]) -> Option<(&str, String)> {
    if !variable.starts_with(b"SKYCLAW_") {
        return None;
    }
    let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
    Some((name, value.to_owned()))
}

/// Returns whether it lives, when it started, and its session.
fn stat(base: &Path) -> Option<(bool, u64, i32)> {
    let stat = std::fs::read_to_string(base.join("stat")).ok()?;
    // The name in brackets may hold spaces and brackets itself: fields count from the last one.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let alive = !matches!(fields.first(), Some(&("Z" | "X")));
    let session = fields.get(3)?.parse().ok()?;
    let start = fields.get(19)?.parse().ok()?;
    Some((alive, start, session))
}

/// Sends `signal` to the process, unless the id is another's by now.
pub(in crate::host) fn signal(process: &Process, signal: Signal) {
    if start_of(process.pid) != Some(process.start) {
        return;
    }
    if let Some(pid) = Pid::from_raw(process.pid) {
        // Gone already is fine.
        let _ = kill_process(pid, signal);
    }
}

/// Ends what `belongs`: TERM, `patience` for those who tidy up, KILL. Returns how many there were.
pub(in crate::host) fn end(patience: Duration, belongs: impl Fn(&Process) -> bool) -> usize {
    let found = || all().into_iter().filter(|process| belongs(process));
    let first: Vec<Process> = found().collect();
    for process in &first {
        signal(process, Signal::TERM);
        // A stopped process hears nothing but KILL.
        signal(process, Signal::CONT);
    }
    let until = Instant::now() + patience;
    while Instant::now() < until && !first.is_empty() {
        sleep(LOOK);
        if found().next().is_none() {
            break;
        }
    }
    for _ in 0..ROUNDS {
        let left: Vec<Process> = found().collect();
        if left.is_empty() {
            break;
        }
        for process in &left {
            signal(process, Signal::KILL);
        }
        // What is killed needs a moment to be gone.
        sleep(Duration::from_millis(2));
    }
    first.len()
}
