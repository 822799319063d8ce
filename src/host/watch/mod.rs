//! Nothing of a job outlives the daemon: the daemon's side of its watcher, and what a new daemon does
//! about the left-overs of a former one.

pub(super) mod groups;
pub mod process;
pub(super) mod processes;
pub(super) mod record;
pub(super) mod strays;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{SendFlags, send};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use self::groups::Group;
use self::record::Bytes;

/// The hidden subcommand that is the watcher.
pub const SUBCOMMAND: &str = "host-watch";
/// A watcher that does not read for this long is as good as dead.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the watcher may take to end what jobs left behind.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long left-overs of a former life may tidy up.
const PATIENCE: Duration = Duration::from_secs(2);

/// The watcher of this daemon.
#[derive(Debug)]
pub(super) struct Watch {
    program: PathBuf,
    opening: Vec<u8>,
    mark: String,
    /// Whether orphans come to us.
    adopts: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    link: Arc<UnixStream>,
    child: Child,
    /// What a new watcher must be told.
    running: HashMap<i32, Bytes>,
    /// The sessions among those that jobs made for themselves.
    strays: HashSet<i32>,
}

impl Watch {
    /// Starts `program host-watch`, which keeps its list in `dir`.
    ///
    /// `state` and `process` name the daemon's directory and this life of it; with both the jobs are marked.
    pub(super) fn start(
        program: &Path,
        dir: &Path,
        state: &str,
        process: &str,
    ) -> io::Result<Self> {
        let mark = format!("{state}-{process}");
        let mut opening = serde_json::to_vec(&process::Opening {
            mark: mark.clone(),
            list: groups::file(dir, process),
        })?;
        opening.push(b'\n');
        let (link, child) = launch(program, &opening)?;
        Ok(Self {
            program: program.to_owned(),
            opening,
            mark,
            adopts: strays::adopt(),
            state: Mutex::new(State {
                link,
                child,
                running: HashMap::new(),
                strays: HashSet::new(),
            }),
        })
    }

    /// Returns what stands in [`processes::MARK_VARIABLE`] of each job.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// Returns the socket on which a group's leader says that it starts.
    pub(super) fn link(&self) -> Arc<UnixStream> {
        Arc::clone(&self.state().link)
    }

    /// Remembers what the leader `pid` has said itself through `link`.
    pub(super) fn began(&self, pid: i32, record: Bytes, link: &Arc<UnixStream>) {
        let mut state = self.state();
        state.running.insert(pid, record);
        let now = Arc::clone(&state.link);
        drop(state);
        if !Arc::ptr_eq(link, &now) {
            // It told a watcher that was replaced meanwhile.
            self.say(&now, &record);
        }
    }

    /// Says that the group is over. Call it before the leader is reaped: afterwards its number may be another's.
    pub(super) fn ended(&self, pid: i32) {
        let mut state = self.state();
        state.running.remove(&pid);
        let link = Arc::clone(&state.link);
        // One that does not read makes us wait, but not all others with us.
        drop(state);
        self.say(&link, &record::ended(pid));
    }

    /// Tells the watcher. In place of one that does not listen comes another, which is told what still runs.
    fn say(&self, link: &Arc<UnixStream>, record: &Bytes) {
        if tell(link, record).is_err()
            && let Err(error) = self.renew(link)
        {
            tracing::error!(%error, "cannot start a watcher");
        }
    }

    /// Ends orphans whose jobs are over, and sees to it that the watcher knows of the others.
    pub(super) fn gather(&self) {
        let state = self.state();
        let watcher = Pid::from_child(&state.child).as_raw_nonzero().get();
        let busy = !state.running.is_empty();
        drop(state);
        let found = strays::look(watcher, self.adopts, busy);
        let mut records = Vec::new();
        let mut state = self.state();
        for session in state.strays.symmetric_difference(&found) {
            let known = state.running.get(session);
            if known.is_some_and(|known| *known != record::stray(*session)) {
                // The number is a job's by now.
            } else if found.contains(session) {
                records.push((*session, record::stray(*session)));
            } else {
                records.push((*session, record::ended(*session)));
            }
        }
        for (session, record) in &records {
            if found.contains(session) {
                state.running.insert(*session, *record);
            } else {
                state.running.remove(session);
            }
        }
        state.strays = found;
        let link = Arc::clone(&state.link);
        drop(state);
        for (_, record) in &records {
            self.say(&link, record);
        }
    }

    /// Replaces a watcher that has ended or was stopped, before anybody has to wait for it.
    pub(super) fn look(&self) {
        let state = self.state();
        if runs(&state.child) {
            return;
        }
        let link = Arc::clone(&state.link);
        drop(state);
        if let Err(error) = self.renew(&link) {
            tracing::error!(%error, "cannot start a watcher");
        }
    }

    /// Starts a new watcher in place of the one at `failed`, unless somebody has done so. Returns the link to it.
    pub(super) fn renew(&self, failed: &Arc<UnixStream>) -> io::Result<Arc<UnixStream>> {
        let mut state = self.state();
        if !Arc::ptr_eq(&state.link, failed) {
            return Ok(Arc::clone(&state.link));
        }
        tracing::warn!("the watcher does not listen; starting another");
        // The new one first: without any, what runs would be on its own.
        let (link, child) = launch(&self.program, &self.opening)?;
        for record in state.running.values() {
            tell(&link, record)?;
        }
        // Killed while it still has its link: at the link's end it would end what runs. A stopped process
        // obeys this too, and whoever waits for it to read hears of its end.
        let _ = state.child.kill();
        let _ = state.child.wait();
        (state.link, state.child) = (Arc::clone(&link), child);
        Ok(link)
    }

    /// Ends the watcher, and with it what jobs left behind. Waits for that a while.
    pub(super) fn close(&self) {
        self.gather();
        // A stopped one would not notice.
        self.look();
        let mut state = self.state();
        let _ = state.link.shutdown(std::net::Shutdown::Both);
        let until = Instant::now() + CLOSE_TIMEOUT;
        while Instant::now() < until {
            match state.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        tracing::warn!("the watcher does not end");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells whether the process has neither ended nor been stopped. Takes no notice of its end: others wait for that.
fn runs(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED
        | WaitIdOptions::STOPPED
        | WaitIdOptions::NOHANG
        | WaitIdOptions::NOWAIT;
    !matches!(
        waitid(WaitId::Pid(Pid::from_child(child)), options),
        Ok(Some(_))
    )
}

fn tell(link: &UnixStream, record: &Bytes) -> io::Result<()> {
    loop {
        match send(link, record, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn launch(program: &Path, opening: &[u8]) -> io::Result<(Arc<UnixStream>, Child)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_write_timeout(Some(SEND_TIMEOUT))?;
    let child = Command::new(program)
        .arg0("skyclaw")
        .arg(SUBCOMMAND)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .spawn()?;
    (&ours).write_all(opening)?;
    Ok((Arc::new(ours), child))
}

/// Ends what former lives of this daemon left running. `state` names the daemon's directory, `dir` is it.
/// Returns how many processes there were. Call it before this life starts jobs.
pub(super) fn end_leftovers(dir: &Path, state: &str) -> usize {
    let groups = groups::take(dir);
    let prefix = format!("{state}-");
    let count = processes::end(PATIENCE, |process| {
        let marked = process.mark.as_ref();
        marked.is_some_and(|mark| mark.starts_with(&prefix)) || groups::holds(&groups, process)
    });
    if !cfg!(target_os = "linux") {
        end_groups_blindly(&groups);
    }
    count
}

/// Where there is no `/proc` only the numbers are known.
fn end_groups_blindly(groups: &[Group]) {
    for group in groups {
        if let Some(pid) = Pid::from_raw(group.pid) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}
