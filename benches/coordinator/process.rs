//! Programs that are measured: started with a log, watched through /proc, ended by their id.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

/// How long a program may take to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program that runs; it is killed when this is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints goes into the file `log`.
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = std::fs::File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log }
    }

    /// Waits until the program has printed a line with `words` in it and returns that line.
    pub async fn line_with(&mut self, words: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            // The last line may not be whole yet.
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(line) = whole.lines().find(|line| line.contains(words)) {
                return line.to_owned();
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < end,
                "no line with {words:?} ({ended:?}):\n{text}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks it to end with `signal`, waits, and ends it by force if it does not.
    pub async fn stop(mut self, signal: Signal) {
        if let Some(pid) = self.child.id().and_then(pid) {
            // It may have ended by itself; then there is nothing to tell.
            let _gone = rustix::process::kill_process(pid, signal);
        }
        if tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .is_err()
        {
            self.child.kill().await.unwrap();
        }
    }

    /// Returns its resident memory in bytes, its threads included.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:") * 1024
    }

    /// Returns the most resident memory it ever had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:") * 1024
    }

    fn status(&self, key: &str) -> u64 {
        let text = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let amount = line.unwrap().split_whitespace().next().unwrap();
        amount.parse().unwrap()
    }

    /// Returns the processor time that it has used, that of ended threads included.
    pub fn cpu(&self) -> Duration {
        cpu_of(&self.proc("stat"))
    }

    fn proc(&self, name: &str) -> PathBuf {
        let id = self.child.id().expect("it runs");
        Path::new("/proc").join(id.to_string()).join(name)
    }
}

/// Returns the processor time of this program.
pub fn own_cpu() -> Duration {
    cpu_of(Path::new("/proc/self/stat"))
}

fn cpu_of(stat: &Path) -> Duration {
    /// Ticks of the user and of the system, counted from behind the name, which may hold anything.
    const AT: std::ops::Range<usize> = 11..13;
    let text = std::fs::read_to_string(stat).unwrap();
    let fields: Vec<&str> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |field: &&str| field.parse::<u64>().unwrap();
    let ticks: u64 = fields[AT].iter().map(ticks).sum();
    // What Linux shows to programs is in hundredths of a second, whatever it counts in itself.
    Duration::from_millis(ticks * 10)
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

/// Returns where `name` is, in PATH or in one of `also`.
pub fn program(name: &str, also: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(also.iter().cloned())
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
