//! Disks of simulated members: what of their files outlasts a loss of power, and ends in the middle of a step.
//!
//! SQLite and the library write and sync through functions of the C library that this test binary replaces, as
//! `chance` does. On a thread with a watch they note what was written and not synced; everywhere else, and for all
//! other files, they only do what they always did.

#![allow(
    unsafe_code,
    reason = "the functions of the C library that are replaced"
)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use libc::{c_int, c_void, off_t, size_t, ssize_t};

use super::chance::Chance;

/// Disks write this much at once.
const BLOCK: usize = 4096;

/// A file as it would be after a loss of power, and what is written but may be lost.
#[derive(Default, Clone)]
struct Kept {
    durable: Vec<u8>,
    unsynced: Vec<(u64, u64)>,
}

/// The files of one member, by path below its directory.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// When a member ends: right before its sync number `after` from now, and how.
struct Trap {
    member: PathBuf,
    after: u64,
    power: Option<u64>,
}

#[derive(Default)]
struct Watch {
    root: PathBuf,
    device: u64,
    /// By inode: names change.
    files: BTreeMap<u64, Kept>,
    /// The names that outlast a loss of power.
    names: BTreeMap<PathBuf, u64>,
    trap: Option<Trap>,
    /// What the member whose trap sprang left.
    sprung: Option<(PathBuf, Files)>,
    lies: bool,
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Watches over everything below `root` that this thread writes. With `lies`, the queue's own file never gets to
/// the disk when it is synced.
pub fn watch(root: &Path, lies: bool) {
    let root = root.canonicalize().unwrap();
    let device = root.metadata().unwrap().dev();
    let watch = Watch {
        root,
        device,
        lies,
        ..Watch::default()
    };
    WATCH.set(Some(watch));
}

/// Has the member in `dir` end right before one of its next syncs; with `power` the power goes too, and what was not
/// synced is lost as the number chooses.
pub fn set_trap(dir: &Path, after: u64, power: Option<u64>) {
    with(|watch| {
        watch.trap = Some(Trap {
            member: dir.to_owned(),
            after,
            power,
        });
    });
}

/// Takes the trap away.
pub fn disarm() {
    with(|watch| watch.trap = None);
}

/// Tells whether the member in `dir` ended in this step: nobody may hear from it any more.
pub fn has_ended(dir: &Path) -> bool {
    with(|watch| watch.sprung.as_ref().is_some_and(|(who, _)| who == dir)).unwrap_or(false)
}

/// Returns who ended in the middle of this step, and its files.
pub fn sprung() -> Option<(PathBuf, Files)> {
    with(|watch| watch.sprung.take()).flatten()
}

/// Returns the files in `dir` as a loss of power would leave them.
pub fn after_power_loss(dir: &Path, seed: u64) -> Files {
    with(|watch| watch.survivors(dir, seed)).unwrap_or_default()
}

/// Puts these files in the place of what is there; they are on disk then.
pub fn put(files: &Files, dir: &Path) {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).unwrap();
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    settle(dir);
}

/// Takes everything below `dir` for durable.
pub fn settle(dir: &Path) {
    with(|watch| {
        watch.names.retain(|name, _| !name.starts_with(dir));
        for path in all_below(dir) {
            let inode = path.metadata().unwrap().ino();
            let kept = Kept {
                durable: fs::read(&path).unwrap(),
                unsynced: Vec::new(),
            };
            watch.files.insert(inode, kept);
            watch.names.insert(path, inode);
        }
        let named: BTreeSet<u64> = watch.names.values().copied().collect();
        watch.files.retain(|inode, _| named.contains(inode));
    });
}

fn with<T>(work: impl FnOnce(&mut Watch) -> T) -> Option<T> {
    // What the work itself writes is not watched.
    let mut taken = WATCH.take()?;
    let done = work(&mut taken);
    WATCH.set(Some(taken));
    Some(done)
}

fn is_kept(path: &Path) -> bool {
    let text = path.to_string_lossy();
    !text.ends_with("-shm") && !text.ends_with("-lock")
}

fn all_below(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(all_below(&path)),
            false if is_kept(&path) => all.push(path),
            false => {}
        }
    }
    all
}

impl Watch {
    /// Returns inode and path of a file that is watched.
    fn seen(&self, fd: c_int) -> Option<(u64, PathBuf)> {
        // SAFETY: all zeroes is a valid value of it.
        let mut is: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: `is` may be written.
        if unsafe { libc::fstat(fd, &raw mut is) } != 0 || is.st_dev != self.device {
            return None;
        }
        let path = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
        let is_gone = path.to_string_lossy().ends_with(" (deleted)");
        let watched = path.starts_with(&self.root) && is_kept(&path) && !is_gone;
        watched.then_some((is.st_ino, path))
    }

    fn wrote(&mut self, fd: c_int, at: u64, length: u64) {
        if let Some((inode, _)) = self.seen(fd) {
            let unsynced = &mut self.files.entry(inode).or_default().unsynced;
            match unsynced.last_mut() {
                Some((from, long)) if *from + *long == at => *long += length,
                Some(_) | None => unsynced.push((at, length)),
            }
        }
    }

    fn synced(&mut self, fd: c_int) {
        let Some((inode, path)) = self.seen(fd) else {
            return;
        };
        self.spring(&path);
        if path.is_dir() {
            // Its names: those that are gone, and those that are new.
            let there: BTreeMap<PathBuf, u64> = all_below(&path)
                .into_iter()
                .filter(|file| file.parent() == Some(&path))
                .map(|file| (file.clone(), file.metadata().unwrap().ino()))
                .collect();
            self.names
                .retain(|name, _| name.parent() != Some(&path) || there.contains_key(name));
            self.names.extend(there);
            return;
        }
        if self.lies && path.to_string_lossy().contains("coordinator.db-wal") {
            return;
        }
        let file = File::open(&path).unwrap();
        let kept = self.files.entry(inode).or_default();
        let length = file.metadata().unwrap().len();
        kept.durable.resize(length as usize, 0);
        for (at, long) in std::mem::take(&mut kept.unsynced) {
            let to = (at + long).min(length);
            if at < to {
                let part = &mut kept.durable[at as usize..to as usize];
                file.read_exact_at(part, at).unwrap();
            }
        }
        // A new file that is synced keeps its name.
        self.names.insert(path, inode);
    }

    fn spring(&mut self, path: &Path) {
        let Some(trap) = self
            .trap
            .as_mut()
            .filter(|trap| path.starts_with(&trap.member))
        else {
            return;
        };
        if trap.after > 0 {
            trap.after -= 1;
            return;
        }
        let Some(trap) = self.trap.take() else { return };
        let left = match trap.power {
            Some(seed) => self.survivors(&trap.member, seed),
            None => all_below(&trap.member)
                .into_iter()
                .map(|path| (below(&trap.member, &path), fs::read(&path).unwrap()))
                .collect(),
        };
        self.sprung = Some((trap.member, left));
    }

    fn survivors(&self, dir: &Path, seed: u64) -> Files {
        let mut chance = Chance::new(seed, 77);
        let real: BTreeMap<u64, PathBuf> = all_below(dir)
            .into_iter()
            .map(|path| (path.metadata().unwrap().ino(), path))
            .collect();
        let names = self.names.iter().filter(|(name, _)| name.starts_with(dir));
        let files = names.map(|(name, inode)| {
            let kept = self.files.get(inode).cloned().unwrap_or_default();
            let written = real.get(inode).map(|path| fs::read(path).unwrap());
            let bytes = match written {
                // Half of the time nothing of it got to the disk.
                Some(written) if chance.happens(50) => mixed(kept.durable, &written, &mut chance),
                Some(_) | None => kept.durable,
            };
            (below(dir, name), bytes)
        });
        files.collect()
    }
}

fn below(dir: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(dir).unwrap().to_owned()
}

/// Returns the durable bytes with some of the blocks that were written since: disks write in any order.
fn mixed(mut durable: Vec<u8>, written: &[u8], chance: &mut Chance) -> Vec<u8> {
    if chance.happens(50) {
        durable.resize(written.len(), 0);
    }
    let most = written.len().min(durable.len());
    for from in (0..most).step_by(BLOCK) {
        let to = (from + BLOCK).min(most);
        if durable[from..to] != written[from..to] && chance.happens(50) {
            durable[from..to].copy_from_slice(&written[from..to]);
        }
    }
    durable
}

/// Does `work` with the watch of this thread, if there is one and it is not at work itself.
fn note(work: impl FnOnce(&mut Watch)) {
    let watched = WATCH.try_with(|watch| watch.try_borrow().is_ok_and(|watch| watch.is_some()));
    if watched.unwrap_or(false) {
        let _ = with(work);
    }
}

/// Stands before the function of the C library of this name.
///
/// # Safety
/// As with that function, `buffer` must have `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    fd: c_int,
    buffer: *const c_void,
    length: size_t,
    at: off_t,
) -> ssize_t {
    // SAFETY: the caller's promise, handed on.
    let wrote = unsafe { libc::syscall(libc::SYS_pwrite64, fd, buffer, length, at) };
    if wrote > 0 {
        note(|watch| watch.wrote(fd, at as u64, wrote as u64));
    }
    wrote as ssize_t
}

/// Stands before the function of the C library of this name.
///
/// # Safety
/// As with that function, `buffer` must have `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller's promise, handed on.
    let wrote = unsafe { libc::syscall(libc::SYS_write, fd, buffer, length) };
    if wrote > 0 {
        note(|watch| {
            // SAFETY: it only says where the file stands.
            let stands = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
            if let Ok(end) = u64::try_from(stands) {
                watch.wrote(fd, end - wrote as u64, wrote as u64);
            }
        });
    }
    wrote as ssize_t
}

/// Stands before the function of the C library of this name.
///
/// # Safety
/// As with that function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    let mut is_ours = false;
    note(|watch| {
        is_ours = watch.seen(fd).is_some();
        watch.synced(fd);
    });
    match is_ours {
        true => 0,
        // SAFETY: the caller's promise, handed on.
        false => unsafe { libc::syscall(libc::SYS_fsync, fd) as c_int },
    }
}

/// Stands before the function of the C library of this name.
///
/// # Safety
/// As with that function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: the caller's promise, handed on.
    unsafe { fsync(fd) }
}
