//! The files of members: where they are, how they survive a kill, and how they are looked over.

use std::fs;
use std::path::{Path, PathBuf};

use skyclaw::queue::store::{Reader, what_is_broken};
use skyclaw::queue::{JobFilter, JobView};

/// A directory for a whole simulation, gone when it is dropped. In memory where there is such a place: that the
/// disk keeps what it was given is not what is tested here.
pub fn fresh() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let mut name = tempfile::Builder::new();
    name.prefix("skyclaw-sim-");
    match memory.is_dir() {
        true => name.tempdir_in(memory).unwrap(),
        false => name.tempdir().unwrap(),
    }
}

/// Copies what a killed process would leave: every file as it is now, but not what only the living need.
pub fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        let text = name.to_string_lossy();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else if !text.ends_with("-shm") && !text.ends_with("-lock") {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// Puts the copy in the place of what is there.
pub fn restore(copy_of: &Path, to: &Path) {
    copy(copy_of, to);
}

/// Where a member's state is.
pub fn database(dir: &Path) -> PathBuf {
    dir.join("coordinator.db")
}

/// Says what does not fit together in a member's file.
pub fn look_over(dir: &Path) -> Result<(), String> {
    let broken = what_is_broken(&database(dir)).map_err(|error| format!("{error:?}"))?;
    match broken.is_empty() {
        true => Ok(()),
        false => Err(format!("broken in {}: {broken:?}", dir.display())),
    }
}

/// How many jobs have not ended, by this member's file.
pub fn open_jobs(dir: &Path) -> Option<u64> {
    let counts = Reader::open(&database(dir)).ok()?.counts().ok()?;
    Some(counts.queued + counts.leased)
}

/// Every job in a member's file.
pub fn jobs(dir: &Path) -> Result<Vec<JobView>, String> {
    let reader = Reader::open(&database(dir)).map_err(|error| error.to_string())?;
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let page = reader
            .jobs(&JobFilter::default(), from, 500)
            .map_err(|error| error.to_string())?;
        all.extend(page.items);
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(all),
        }
    }
}
