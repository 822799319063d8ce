//! The controller's files in the state directory: its database, its lock, its token and its log.
//!
//! A lock is held for as long as the controller's process lives, so what stands in its file is true.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::support::ids::random_hex;
use crate::support::paths;
use crate::support::secret::Secret;

/// How often the lock is tried, and the pause between: whoever only looks holds it for a moment.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// Where the controller of this user keeps its things.
#[derive(Debug, Clone)]
pub struct Place {
    dir: PathBuf,
}

/// The controller that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its process.
    pub pid: i32,
    /// Where it listens, once it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How long its jobs may go on when it is told to end, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_ms: Option<u64>,
    /// The fleet file it works with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<PathBuf>,
    /// The hosts that it works for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
}

/// What says that this process is the controller, as long as it is held.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Who was found to have the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// No controller runs.
    Nobody,
    /// One runs that has not said who it is yet.
    Somebody,
    /// This one runs.
    Running(Running),
}

/// Who has the lock now.
#[derive(Debug)]
pub enum Taken {
    /// We have it now.
    Ours(Lock),
    /// Somebody else has it; nothing is known of it if it has only just started.
    Theirs(Option<Running>),
}

impl Place {
    /// Returns the place of this user on this machine, made if it is not there.
    ///
    /// # Errors
    /// When there is no home, or the directory cannot be made.
    pub fn of_this_machine() -> Result<Self, paths::Error> {
        let dir = paths::state_dir()?;
        paths::create_private_dir(&dir)?;
        Ok(Self { dir })
    }

    /// Returns the place in `dir`.
    pub const fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Returns its database.
    pub fn database(&self) -> PathBuf {
        self.dir.join("controller.db")
    }

    /// Returns the socket of its owner's commands.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(paths::CONTROLLER_SOCKET)
    }

    /// Returns where a detached controller writes what it says.
    pub fn log(&self) -> PathBuf {
        self.dir.join("controller.log")
    }

    /// Returns the file with the token of its loopback port.
    pub fn token_file(&self) -> PathBuf {
        self.dir.join("controller.token")
    }

    /// Returns the token that its loopback port asks for, made once. Whoever may read the file may do what
    /// this user may.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn token(&self) -> Result<Secret, paths::Error> {
        let path = self.token_file();
        let kept = || fs::read_to_string(&path).map(|text| text.trim().to_owned());
        // Only commas are a list of no tokens.
        if let Ok(text) = kept()
            && text.split(',').any(|token| !token.trim().is_empty())
        {
            return Ok(Secret::new(text));
        }
        let text = random_hex::<32>();
        paths::write_private(&path, format!("{text}\n").as_bytes())?;
        Ok(Secret::new(text))
    }

    /// Tries to become the controller.
    ///
    /// # Errors
    /// When the lock's file cannot be used.
    pub fn take(&self) -> Result<Taken, paths::Error> {
        let (file, path) = self.open()?;
        let mut left = TRIES;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                // Somebody may only be looking.
                Err(TryLockError::WouldBlock) if left > 0 => {
                    left -= 1;
                    std::thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => return Ok(Taken::Theirs(read(&file))),
                Err(TryLockError::Error(source)) => {
                    return Err(paths::Error::Io {
                        act: "lock",
                        path,
                        source,
                    });
                }
            }
        }
        // What the one before has said is not true any more.
        file.set_len(0).map_err(|source| paths::Error::Io {
            act: "write",
            path: path.clone(),
            source,
        })?;
        Ok(Taken::Ours(Lock { file, path }))
    }

    /// Has the controller that runs look at its hosts again: what was deployed to them, and who works for them.
    /// Tells whether one runs.
    ///
    /// # Errors
    /// When the lock's file cannot be used.
    pub fn look_again(&self) -> Result<bool, paths::Error> {
        let Seen::Running(running) = self.look()? else {
            return Ok(false);
        };
        // Its number cannot be another's while it holds the lock; gone in this moment is as good.
        let pid = Pid::from_raw(running.pid);
        Ok(pid.is_some_and(|pid| kill_process(pid, Signal::USR1).is_ok()))
    }

    /// Looks who the controller is. Nothing if there is none.
    ///
    /// # Errors
    /// When the lock's file cannot be used.
    pub fn look(&self) -> Result<Seen, paths::Error> {
        let (file, path) = self.open()?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Seen::Nobody),
            Err(TryLockError::WouldBlock) => Ok(read(&file).map_or(Seen::Somebody, Seen::Running)),
            Err(TryLockError::Error(source)) => Err(paths::Error::Io {
                act: "lock",
                path,
                source,
            }),
        }
    }

    fn open(&self) -> Result<(File, PathBuf), paths::Error> {
        let path = self.dir.join("controller.lock");
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        match opened {
            Ok(file) => Ok((file, path)),
            Err(source) => Err(paths::Error::Io {
                act: "open",
                path,
                source,
            }),
        }
    }
}

impl Lock {
    /// Writes down who holds it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn say(&mut self, running: &Running) -> Result<(), paths::Error> {
        let text = serde_json::to_vec(running).unwrap_or_default();
        let write = |file: &mut File| {
            // Not emptied first: on a full disk there may be room only for what is there already.
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&text)?;
            file.set_len(text.len() as u64)
        };
        write(&mut self.file).map_err(|source| paths::Error::Io {
            act: "write",
            path: self.path.clone(),
            source,
        })
    }
}

/// Reads who holds it. What is half written is as good as nothing: the holder has only just started.
fn read(mut file: &File) -> Option<Running> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Keeps `log` from growing beyond `most` bytes: what is there moves to a second file, over the one before.
/// Whoever writes appends, so nothing but what is written in this moment is lost.
///
/// # Errors
/// When the files cannot be used.
pub fn bound(log: &Path, most: u64) -> io::Result<()> {
    match fs::metadata(log) {
        Ok(found) if found.len() > most => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let mut old = log.as_os_str().to_owned();
    old.push(".1");
    fs::copy(log, PathBuf::from(old))?;
    OpenOptions::new().write(true).open(log)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_lock_and_others_hear_who() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place {
            dir: dir.path().to_owned(),
        };
        let Taken::Ours(mut lock) = place.take().unwrap() else {
            panic!("nobody else is there");
        };
        let second = || match place.take().unwrap() {
            Taken::Theirs(running) => running,
            Taken::Ours(_) => panic!("two have it"),
        };
        assert_eq!((second(), place.look().unwrap()), (None, Seen::Somebody));
        let running = Running {
            pid: 7,
            url: Some("http://127.0.0.1:1".into()),
            drain_ms: None,
            fleet: None,
            hosts: Some(vec!["a".into()]),
        };
        lock.say(&running).unwrap();
        assert_eq!(second(), Some(running.clone()));
        assert_eq!(place.look().unwrap(), Seen::Running(running.clone()));
        let shorter = Running {
            hosts: None,
            ..running
        };
        lock.say(&shorter).unwrap();
        assert_eq!(place.look().unwrap(), Seen::Running(shorter));
        drop(lock);
        assert_eq!(place.look().unwrap(), Seen::Nobody);
        assert!(matches!(place.take().unwrap(), Taken::Ours(_)));
    }

    #[test]
    fn a_log_has_two_files_at_most() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("l");
        bound(&log, 3).unwrap();
        for text in ["one", "four", "five5"] {
            fs::write(&log, text).unwrap();
            bound(&log, 3).unwrap();
        }
        assert_eq!(fs::read(&log).unwrap(), b"");
        assert_eq!(fs::read(dir.path().join("l.1")).unwrap(), b"five5");
        assert_eq!(place_token(dir.path()), place_token(dir.path()));
    }

    #[test]
    fn a_list_of_no_tokens_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("controller.token");
        for empty in ["", " \n", ",", " , ,\n"] {
            fs::write(&path, empty).unwrap();
            assert_eq!(place_token(dir.path()).len(), 64, "{empty:?}");
        }
        fs::write(&path, "one, two\n").unwrap();
        assert_eq!(place_token(dir.path()), "one, two");
    }

    fn place_token(dir: &Path) -> String {
        let place = Place {
            dir: dir.to_owned(),
        };
        place.token().unwrap().expose().to_owned()
    }
}
