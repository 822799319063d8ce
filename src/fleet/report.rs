//! What came of one task on one host, in the words users and scripts see.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fleet::capture::Capture;
use crate::fleet::file::HostName;
use crate::fleet::recall;
use crate::fleet::supervise::{Ended, Finished, NotStarted};
use crate::protocol::{JobId, OUTPUT_LIMIT, Output, Reason};
use crate::ssh::{Error, Exit, Kind};
use crate::support::clock::Timestamp;

/// Finished output up to this size stays in memory; more goes to the run's directory.
const KEPT_IN_MEMORY: u64 = 64 << 10;

/// How a task came out on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It succeeded.
    Ok,
    /// It ran and failed.
    Failed,
    /// It ran into a limit.
    Timeout,
    /// No SSH connection could be made.
    Unreachable,
    /// The server did not let us in.
    Auth,
    /// The server is not who it should be.
    HostKey,
    /// The agent is not installed.
    Missing,
    /// The connection died while it ran; nobody knows how it ended.
    Lost,
    /// The user stopped it.
    Cancelled,
    /// It was never started.
    Skipped,
}

impl Status {
    /// Every status, gravest last as summaries list them.
    pub const ALL: [Self; 10] = [
        Self::Ok,
        Self::Failed,
        Self::Timeout,
        Self::Unreachable,
        Self::Auth,
        Self::HostKey,
        Self::Missing,
        Self::Lost,
        Self::Cancelled,
        Self::Skipped,
    ];

    /// Returns the word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Auth => "auth",
            Self::HostKey => "host-key",
            Self::Missing => "missing",
            Self::Lost => "lost",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }

    /// Returns the status written as `word`.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Returns the queue's reason for a job that came out so, or none if it succeeded.
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Ok => None,
            Self::Failed => Some(Reason::Exit),
            Self::Timeout => Some(Reason::Timeout),
            Self::Unreachable | Self::Auth | Self::HostKey | Self::Missing => Some(Reason::Spawn),
            Self::Lost => Some(Reason::Lost),
            Self::Cancelled => Some(Reason::Cancelled),
            Self::Skipped => Some(Reason::Deadline),
        }
    }
}

impl From<Kind> for Status {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Unreachable => Self::Unreachable,
            Kind::Auth => Self::Auth,
            Kind::HostKey => Self::HostKey,
            Kind::Lost => Self::Lost,
        }
    }
}

/// One stream of a finished task.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    bytes: Vec<u8>,
    /// Where all of it is, if it was too large for memory.
    pub file: Option<PathBuf>,
    /// How much was printed.
    pub total: u64,
    /// Whether some of it was not kept.
    pub cut: bool,
}

impl Kept {
    /// Takes over what was captured, and returns its ends for the queue beside it.
    pub fn take(mut capture: Capture) -> (Self, Output) {
        let ends = ends(&mut capture);
        let (total, cut) = (capture.total(), capture.is_cut());
        let file = if total > KEPT_IN_MEMORY {
            capture.spill()
        } else {
            None
        };
        let bytes = match &file {
            Some(_) => Vec::new(),
            None => capture.read_all().unwrap_or_default(),
        };
        (
            Self {
                bytes,
                file,
                total,
                cut,
            },
            ends,
        )
    }

    /// Returns output as it was recorded; all of it is in `file` if it was too large for the record.
    pub fn recorded(output: &Output, file: Option<PathBuf>) -> Self {
        Self {
            bytes: match file {
                Some(_) => Vec::new(),
                None => output.bytes.clone(),
            },
            cut: output.truncated && file.is_none(),
            file,
            total: output.total,
        }
    }

    /// Returns all that was kept.
    ///
    /// # Errors
    /// When the file in the run's directory cannot be read.
    pub fn read(&self) -> std::io::Result<Vec<u8>> {
        match &self.file {
            Some(path) => std::fs::read(path),
            None => Ok(self.bytes.clone()),
        }
    }

    /// Returns the last lines, for a summary of failures.
    pub fn last_lines(&self, lines: usize) -> String {
        let bytes = self.read().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        all.get(all.len().saturating_sub(lines)..)
            .unwrap_or_default()
            .join("\n")
    }
}

fn ends(capture: &mut Capture) -> Output {
    let total = capture.total();
    let (mut head, tail) = capture.ends(OUTPUT_LIMIT, OUTPUT_LIMIT).unwrap_or_default();
    head.extend_from_slice(&tail);
    let mut output = Output::of(head, OUTPUT_LIMIT);
    output.total = total;
    output.truncated = output.truncated || capture.is_cut();
    output
}

/// What came of one task on one host.
#[derive(Debug, Clone)]
pub struct TaskReport {
    /// Which host; none if no host ever took it.
    pub host: Option<HostName>,
    /// Which task, from 0.
    pub task: usize,
    /// Its job in the queue.
    pub job: JobId,
    /// Which try.
    pub attempt: u32,
    /// How it came out.
    pub status: Status,
    /// The exit code; 128 + signal if a signal ended it.
    pub exit: Option<i32>,
    /// The signal's name, without `SIG`.
    pub signal: Option<String>,
    /// What went wrong, where words help.
    pub error: Option<String>,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// Its output.
    pub stdout: Kept,
    /// Its error output.
    pub stderr: Kept,
    /// Whether it left something behind that held its output open.
    pub pipe_held: bool,
    /// Output that was kept but not shown, because the reader was too slow, in bytes.
    pub unseen: u64,
}

impl TaskReport {
    /// Returns the report of a task that has nothing to show.
    pub fn without_output(
        host: Option<HostName>,
        task: usize,
        job: JobId,
        judged: Verdict,
        now: Timestamp,
    ) -> Self {
        Self {
            host,
            task,
            job,
            attempt: 1,
            status: judged.status,
            exit: judged.exit,
            signal: judged.signal,
            error: judged.error,
            hint: judged.hint,
            started_at: now,
            took: Duration::ZERO,
            stdout: Kept::default(),
            stderr: Kept::default(),
            pipe_held: false,
            unseen: 0,
        }
    }
}

/// How it came out, without the output.
#[derive(Debug)]
pub struct Verdict {
    /// The word.
    pub status: Status,
    /// The exit code, 128 + signal.
    pub exit: Option<i32>,
    /// The signal.
    pub signal: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl Verdict {
    /// Returns the verdict of a host that could not be used.
    pub fn of_error(error: &Error) -> Self {
        Self {
            status: error.kind().into(),
            exit: None,
            signal: None,
            error: Some(error.chain()),
            hint: error.hint(),
        }
    }

    /// Returns a verdict with a reason in words.
    pub fn because(status: Status, error: impl Into<String>) -> Self {
        Self {
            status,
            exit: None,
            signal: None,
            error: Some(error.into()),
            hint: None,
        }
    }

    /// Judges a finished command.
    pub fn of_finished(finished: &Finished) -> Self {
        let (exit, signal) = match &finished.exit {
            Some(Exit::Code(code)) => (i32::try_from(*code).ok(), None),
            Some(Exit::Signal(name)) => (
                signal_number(name).map(|number| 128 + number),
                Some(name.clone()),
            ),
            None => (None, None),
        };
        let base = match (&finished.ended, &finished.not_started, &finished.lost) {
            (Some(Ended::TimedOut), _, _) => Self::plain(Status::Timeout),
            (Some(Ended::Stopped), _, _) => Self::plain(Status::Cancelled),
            (None, Some(NotStarted::Missing(program)), _) => Self {
                hint: Some(match program.ends_with("/.local/bin/picoclaw") {
                    true => recall::INSTALL.into(),
                    false => "install it on the host, or choose another --agent".into(),
                }),
                ..Self::because(Status::Missing, format!("{program} is not installed"))
            },
            (None, Some(NotStarted::NoDirectory(directory)), _) => Self {
                hint: Some(recall::DIRECTORY.into()),
                ..Self::because(
                    Status::Failed,
                    format!("{}{directory}", recall::NO_DIRECTORY),
                )
            },
            (None, Some(NotStarted::Shell(said)), _) => Self {
                hint: Some("log in by hand and see what the login shell does".into()),
                ..Self::because(
                    Status::Failed,
                    format!("the login shell did not run our script; it said `{said}`"),
                )
            },
            (None, None, Some(error)) => Self::of_error(error),
            (None, None, None) => match &finished.exit {
                Some(Exit::Code(0)) => Self::plain(Status::Ok),
                Some(Exit::Code(_)) => Self::plain(Status::Failed),
                Some(Exit::Signal(name)) => {
                    Self::because(Status::Failed, format!("killed by signal {name}"))
                }
                None => Self::because(Status::Lost, "it ended without an exit status"),
            },
        };
        if finished.not_started.is_some() {
            // The shell's own exit code says nothing about the task.
            return base;
        }
        Self {
            exit,
            signal,
            ..base
        }
    }

    /// Returns a verdict that needs no words.
    pub fn plain(status: Status) -> Self {
        Self {
            status,
            exit: None,
            signal: None,
            error: None,
            hint: None,
        }
    }
}

/// The signals that end processes. The numbers are the same on Linux and macOS but for USR1 and USR2,
/// which are Linux's: a server names a signal, it does not number it.
const SIGNALS: [(&str, i32); 14] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
];

/// Returns the name of a signal that ends processes, without `SIG`.
pub fn signal_name(number: i32) -> Option<&'static str> {
    SIGNALS
        .iter()
        .find(|(_, known)| *known == number)
        .map(|(name, _)| *name)
}

/// Returns the number of a signal that ends processes.
pub fn signal_number(name: &str) -> Option<i32> {
    SIGNALS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}
