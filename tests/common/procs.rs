//! The process table and files, read for what must not be there: orphans and secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// One process as `/proc` shows it. Arguments and variables are joined with spaces and newlines for searching.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proc {
    pub pid: i32,
    pub ppid: i32,
    pub cmdline: String,
    /// Empty where this user may not read it.
    pub environ: String,
}

impl Proc {
    /// Returns whether the text occurs in the arguments or the environment.
    pub fn contains(&self, needle: &str) -> bool {
        self.cmdline.contains(needle) || self.environ.contains(needle)
    }

    /// Sends SIGKILL; a process that is gone already is fine.
    pub fn kill9(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends SIGSTOP: it is there and does nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _gone_already = kill_process(pid, signal);
        }
    }
}

/// Returns every living process. Zombies are left out: they run nothing.
pub fn all_processes() -> Vec<Proc> {
    let Ok(dir) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    dir.flatten()
        .filter_map(|entry| read_proc(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// Returns the processes other than this one that carry the text in their arguments or environment.
pub fn processes_with(marker: &str) -> Vec<Proc> {
    let own = std::process::id().cast_signed();
    all_processes()
        .into_iter()
        .filter(|proc| proc.pid != own && proc.contains(marker))
        .collect()
}

/// Waits up to the deadline until nothing carries the marker any more, and shows what is left if something does.
#[track_caller]
pub fn assert_no_process_within(deadline: Duration, marker: &str) {
    let gone = super::wait::holds_within(deadline, || processes_with(marker).is_empty());
    assert!(
        gone,
        "still running after {deadline:?} with {marker:?}: {:#?}",
        brief(marker)
    );
}

/// Asserts that nothing carries the marker now.
#[track_caller]
pub fn assert_no_process(marker: &str) {
    assert_no_process_within(Duration::ZERO, marker);
}

/// Returns all descendants of a process, children first.
pub fn descendants(root: i32) -> Vec<Proc> {
    let all = all_processes();
    let mut found: Vec<Proc> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|proc| proc.ppid == parent) {
            parents.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}

/// Starts to collect every distinct process seen until `stop`.
pub fn ps_snapshot() -> Sampler {
    let (stop, stopped) = channel::<()>();
    let thread = std::thread::spawn(move || {
        let mut seen: BTreeMap<(i32, String), Proc> = BTreeMap::new();
        loop {
            for proc in all_processes() {
                // The environment may be read before an exec and the arguments after it: keep each pair once.
                seen.entry((proc.pid, proc.cmdline.clone())).or_insert(proc);
            }
            match stopped.recv_timeout(Duration::from_millis(1)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                    return seen.into_values().collect();
                }
            }
        }
    });
    Sampler { stop, thread }
}

/// A running collection of the process table.
pub struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<Vec<Proc>>,
}

impl Sampler {
    /// Ends the collection and returns what was seen; the last look is taken after this call.
    pub fn stop(self) -> Vec<Proc> {
        let _thread_ended = self.stop.send(());
        self.thread.join().expect("the sampler does not panic")
    }
}

/// Returns the files below a directory whose content or name holds the text. Symlinks are not followed.
pub fn scan_files(dir: &Path, needle: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type());
            if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) {
                dirs.push(path.clone());
            }
            let named = entry.file_name().to_string_lossy().contains(needle);
            let held = kind.is_ok_and(|kind| kind.is_file()) && holds(&path, needle.as_bytes());
            if named || held {
                found.push(path);
            }
        }
    }
    found
}

fn holds(path: &Path, needle: &[u8]) -> bool {
    std::fs::read(path).is_ok_and(|data| data.windows(needle.len()).any(|window| window == needle))
}

fn brief(marker: &str) -> Vec<String> {
    processes_with(marker)
        .iter()
        .map(|proc| format!("{} (parent {}): {}", proc.pid, proc.ppid, proc.cmdline))
        .collect()
}

fn read_proc(pid: i32) -> Option<Proc> {
    let base = PathBuf::from(format!("/proc/{pid}"));
    let stat = std::fs::read_to_string(base.join("stat")).ok()?;
    // The name in brackets may hold spaces and brackets itself: fields count from the last one.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let ppid = fields.next()?.parse().ok()?;
    if state == "Z" || state == "X" {
        return None;
    }
    let text = |name: &str, between: &str| {
        let bytes = std::fs::read(base.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes)
            .trim_end_matches('\0')
            .replace('\0', between)
    };
    Some(Proc {
        pid,
        ppid,
        cmdline: text("cmdline", " "),
        environ: text("environ", "\n"),
    })
}

/// Returns how long something took, together with its result.
pub fn timed<T>(act: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let value = act();
    (start.elapsed(), value)
}
