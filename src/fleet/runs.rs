//! What is remembered of runs: the local queue, and a directory for output too large for it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::protocol::{GroupId, GroupRecord};
use crate::queue::store::{Cursor, JobFilter, JobView};
use crate::queue::sweeper::{Retention, prune_all};
use crate::queue::{self, Options, Queue};
use crate::support::clock::{Clock, SystemClock};
use crate::support::paths;

/// Runs that cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no place for them.
    #[error(transparent)]
    Place(#[from] paths::Error),
    /// The queue cannot be read.
    #[error("the local queue")]
    Queue(#[from] queue::Error),
    /// No run has this id.
    #[error("no run `{0}`: `skyclaw fleet runs` lists them")]
    NoSuchRun(String),
    /// There is none that could be the last.
    #[error("no runs yet: `skyclaw fleet exec` and `skyclaw fleet dispatch` make them")]
    NoRuns,
    /// Several runs begin so.
    #[error("`{0}` is the beginning of several runs: give more of it")]
    Ambiguous(String),
}

/// How often somebody who goes on with a run tries to say so, and the pause between.
const TRIES: u32 = 3;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
/// The directory of what says that runs are at work.
const RUNNING: &str = "running";
/// The most runs that are listed.
const MOST_LISTED: u32 = 200;

/// Opens the queue of this user on this machine.
///
/// # Errors
/// When it cannot be opened or made.
pub fn open_queue() -> Result<Queue, Error> {
    let dir = paths::state_dir()?;
    paths::create_private_dir(&dir)?;
    Ok(Queue::open(Options::new(dir.join("queue.db")))?)
}

/// Returns the directory of a run. It is only made when there is something to put in it.
///
/// # Errors
/// When there is no home.
pub fn directory(run: GroupId) -> Result<PathBuf, Error> {
    Ok(paths::state_dir()?.join("runs").join(run.to_string()))
}

/// Says that a run is at work, for as long as it is held and this process lives: a lock on a file, which
/// the system lets go of however the process ends.
#[derive(Debug)]
pub struct Presence {
    path: PathBuf,
    _lock: File,
}

impl Drop for Presence {
    fn drop(&mut self) {
        // While it is still locked, so that nobody finds a file of ours without an owner.
        let _ = fs::remove_file(&self.path);
    }
}

/// Says that `run` is at work again, for somebody who goes on with it; nothing if somebody else does.
///
/// # Errors
/// When the place cannot be made.
pub fn take_over(run: GroupId) -> Result<Option<Presence>, Error> {
    let path = presence(run)?;
    let mut left = TRIES;
    loop {
        let held = try_hold(path.clone())?;
        // Somebody may only be looking, or sweeping.
        if held.is_some() || left == 0 {
            return Ok(held);
        }
        left -= 1;
        std::thread::sleep(PAUSE);
    }
}

fn try_hold(path: PathBuf) -> Result<Option<Presence>, paths::Error> {
    hold(path, |file| match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(source),
    })
}

/// Says from now on that `run` is at work. Comes before its jobs, or they would seem abandoned.
///
/// # Errors
/// When the place cannot be made or locked.
pub fn announce(run: GroupId) -> Result<Presence, Error> {
    let path = presence(run)?;
    let held = hold(path.clone(), |file| file.lock().map(|()| true))?;
    held.ok_or_else(|| {
        let source = io::ErrorKind::WouldBlock.into();
        locking(&path, source).into()
    })
}

/// Locks the file at `path`, as `lock` does: nothing if it does not get it.
fn hold(
    path: PathBuf,
    lock: impl Fn(&File) -> io::Result<bool>,
) -> Result<Option<Presence>, paths::Error> {
    if let Some(dir) = path.parent() {
        paths::create_private_dir(dir)?;
    }
    loop {
        let file = paths::append_private(&path)?;
        if !lock(&file).map_err(|source| locking(&path, source))? {
            return Ok(None);
        }
        // Its owner may have removed it after we opened it: the next one would lock another file.
        if is_at(&file, &path).map_err(|source| locking(&path, source))? {
            return Ok(Some(Presence { path, _lock: file }));
        }
    }
}

fn locking(path: &Path, source: io::Error) -> paths::Error {
    paths::Error::Io {
        act: "lock",
        path: path.to_owned(),
        source,
    }
}

/// Tells whether `file` is what `path` leads to.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Tells whether a group is a run of `dispatch` or `exec`.
pub fn is_of_the_fleet(run: &GroupRecord) -> bool {
    matches!(run.kind.as_str(), "dispatch" | "exec")
}

/// Tells whether nobody is at work on `run` any more though not all of it is done: its controller was
/// killed. What it ran has ended with its connections, and what it had not started nobody will start.
pub fn is_abandoned(run: &GroupRecord) -> bool {
    // Only these belong to one process.
    if run.counts.is_final() || !is_of_the_fleet(run) {
        return false;
    }
    let Ok(path) = presence(run.id) else {
        return false;
    };
    loop {
        let Ok(file) = File::open(&path) else {
            return true;
        };
        // Shared: another one who looks at this moment is not the owner.
        match file.try_lock_shared() {
            // The file stays: somebody may be about to lock it.
            Ok(()) if is_at(&file, &path).unwrap_or(true) => return true,
            // Removed by its owner after we opened it; the next one may have made another.
            Ok(()) => {}
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return false,
        }
    }
}

fn presence(run: GroupId) -> Result<PathBuf, Error> {
    Ok(paths::state_dir()?.join(RUNNING).join(run.to_string()))
}

/// Removes what killed runs have left in `dir` of their being at work. Nobody needs it: a run without it is
/// abandoned as well.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // Held and let go, it goes as that of a run that ends; one that is at work keeps its own.
        if let Err(error) = try_hold(entry.path()) {
            tracing::debug!(%error, "what a run has left stays");
        }
    }
}

/// Forgets old runs and removes their directories, and what killed runs have left behind. What fails is left for the
/// next time.
pub async fn prune(queue: &Queue) {
    if let Ok(dir) = paths::state_dir() {
        sweep(&dir.join(RUNNING));
    }
    match prune_all(queue, &Retention::default(), SystemClock.now()).await {
        Ok(pruned) => {
            for group in pruned.groups {
                if let Ok(dir) = directory(group) {
                    let _ = std::fs::remove_dir_all(dir);
                }
                if let Ok(path) = presence(group) {
                    let _ = fs::remove_file(path);
                }
            }
        }
        Err(error) => tracing::debug!(%error, "cannot prune old runs"),
    }
}

/// Returns the newest runs, newest first.
///
/// # Errors
/// When the queue fails.
pub async fn list(queue: &Queue) -> Result<Vec<GroupRecord>, Error> {
    // A controller that was killed left leases behind; what ran under them is lost by now.
    queue.expire_due().await?;
    Ok(queue.groups(MOST_LISTED).await?)
}

/// Returns the jobs of a run in order.
///
/// # Errors
/// When the queue fails.
pub async fn jobs(queue: &Queue, run: GroupId) -> Result<Vec<JobView>, Error> {
    let filter = JobFilter {
        group: Some(run),
        ..JobFilter::default()
    };
    let (mut all, mut from): (Vec<JobView>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = queue.jobs(filter.clone(), from, 500).await?;
        all.extend(page.items);
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn try_hold(path: &Path) -> Option<Presence> {
        super::try_hold(path.to_owned()).unwrap()
    }

    #[test]
    fn what_killed_runs_left_is_swept_and_what_is_held_stays() {
        let dir = tempfile::tempdir().unwrap();
        let running = dir.path().join("running");
        sweep(&running);
        let held = try_hold(&running.join("at-work")).unwrap();
        // As a killed process leaves it: there, and nobody's.
        fs::write(running.join("killed"), "").unwrap();
        sweep(&running);
        assert!(!running.join("killed").exists());
        assert!(running.join("at-work").exists());
        drop(held);
        assert!(!running.join("at-work").exists());
    }

    #[test]
    fn what_was_removed_meanwhile_is_not_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("running").join("run");
        let owner = try_hold(&path).unwrap();
        assert!(try_hold(&path).is_none());
        let owner = std::cell::Cell::new(Some(owner));
        // Opened while there was an owner, locked when there is none any more.
        let late = hold(path.clone(), |file| {
            drop(owner.take());
            file.try_lock().map(|()| true).map_err(io::Error::other)
        });
        let late = late.unwrap().unwrap();
        assert!(path.exists() && try_hold(&path).is_none());
        drop(late);
        assert!(!path.exists());
    }

    #[test]
    fn there_is_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let owners = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Some(held) = try_hold(&path) {
                            assert_eq!(owners.fetch_add(1, Ordering::SeqCst), 0);
                            owners.fetch_sub(1, Ordering::SeqCst);
                            drop(held);
                        }
                    }
                });
            }
        });
    }
}
