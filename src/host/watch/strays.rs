//! Processes of jobs that left their job's session and cleared their environment too: told by descent.
//!
//! The daemon adopts the orphans of its descendants. A process that comes to it that way may be of any job
//! that ran when it started, so it may stay until all of those are over.

use std::collections::HashSet;
use std::fs;

use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use super::processes::{self, Process};

/// More than any family is likely to have; a fork bomb is not to keep us for ever.
const MOST: usize = 10_000;

/// Makes orphans come to this process. Returns whether they do.
pub(in crate::host) fn adopt() -> bool {
    let own = own();
    // What we had before, or have as the first process of a container, may be somebody else's.
    if own == 1 || children(own, own).is_none_or(|before| !before.is_empty()) {
        return false;
    }
    #[cfg(target_os = "linux")]
    return rustix::process::set_child_subreaper(Pid::from_raw(own)).is_ok();
    #[cfg(not(target_os = "linux"))]
    return false;
}

/// Ends orphans whose jobs are over. Returns the sessions of those that still belong to a job and are not
/// the session of one. `busy` says whether there may be any but orphans.
pub(super) fn look(watcher: i32, adopts: bool, busy: bool) -> HashSet<i32> {
    let own = own();
    // Orphans come to the main thread, which starts none itself. They are read before the jobs: a job
    // that ends in between must not leave them without one.
    let mut orphans = children(own, own).unwrap_or_default();
    orphans.retain(|pid| adopts && *pid != watcher);
    if orphans.is_empty() && !busy {
        return HashSet::new();
    }
    for pid in &orphans {
        // Somebody has to, and it does nothing to those that live.
        let _ = waitpid(Pid::from_raw(*pid), WaitOptions::NOHANG);
    }
    let leaders = leaders(own, watcher);
    // Not asked with getsid: it has no answer for the session 0 of what a container's outside started.
    let home = processes::brief(own).map_or(0, |process| process.session);
    let mut sessions = HashSet::new();
    for orphan in orphans.into_iter().filter_map(processes::brief) {
        if orphan.session == home {
            // Of a helper of ours: jobs are in sessions of their own.
            continue;
        }
        let has_job = leaders.iter().any(|leader| leader.start <= orphan.start);
        for process in family(orphan) {
            if has_job {
                sessions.insert(process.session);
            } else {
                processes::signal(&process, Signal::KILL);
            }
        }
    }
    let known: HashSet<i32> = leaders.iter().map(|leader| leader.pid).collect();
    let families = leaders.into_iter().flat_map(family);
    sessions.extend(families.map(|process| process.session));
    sessions.retain(|session| *session != home && !known.contains(session));
    sessions
}

/// Returns the leaders of all jobs that run: what the other threads have started and is in a session of its own.
fn leaders(own: i32, watcher: i32) -> Vec<Process> {
    tasks(own)
        .filter(|task| *task != own)
        .flat_map(|task| children(own, task).unwrap_or_default())
        .filter(|pid| *pid != watcher)
        .filter_map(processes::brief)
        .filter(|process| process.session == process.pid)
        .collect()
}

/// Returns the process and all that descend from it.
fn family(head: Process) -> Vec<Process> {
    let mut found = vec![head];
    let mut at = 0;
    while let Some(pid) = found.get(at).map(|process| process.pid) {
        let young = tasks(pid).flat_map(|task| children(pid, task).unwrap_or_default());
        found.extend(young.filter_map(processes::brief).take(MOST));
        at += 1;
        if found.len() > MOST {
            break;
        }
    }
    found
}

fn own() -> i32 {
    std::process::id().cast_signed()
}

fn tasks(pid: i32) -> impl Iterator<Item = i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"));
    let names = entries.into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns what the thread has started and what came to it; nothing where the system does not tell.
fn children(pid: i32, task: i32) -> Option<Vec<i32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{task}/children")).ok()?;
    let numbers = text.split_ascii_whitespace();
    Some(numbers.filter_map(|number| number.parse().ok()).collect())
}
