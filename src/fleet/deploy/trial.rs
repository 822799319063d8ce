//! Runs a program that was deployed, once, under the supervisor: its test, or onboard.
//!
//! It gets no input, a limit, and nothing that it leaves behind lives on. What it says is masked.

use std::time::Duration;

use super::Component;
use super::error::DeployError;
use crate::fleet::capture::Capture;
use crate::fleet::remote::{Command, Value, Word};
use crate::fleet::supervise::{self, Ended, Finished, Limits, NotStarted, Sink};
use crate::ssh::{Connection, Exit};
use crate::support::mask::Masker;
use crate::support::shutdown;

const GRACE: Duration = Duration::from_secs(2);
/// Output kept of a test or of onboard; only its end is shown.
const MOST_OUTPUT: u64 = 64 << 10;
/// A program that only prints its version and takes longer than this is not what it should be.
const TEST_LIMIT: Duration = Duration::from_secs(20);
/// Another process may hold the fresh file open for writing for a moment (it was forked meanwhile).
const BUSY_TRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// The most of a program's words that is repeated in a message, in characters.
const MOST_SHOWN: usize = 300;

/// Returns the command that runs it with one argument.
pub(super) fn command(component: Component, argument: &str) -> Command {
    Command {
        words: vec![Word::InHome(component.path().to_owned()), argument.into()],
        env: vec![("NO_COLOR".to_owned(), Value::Open("1".to_owned()))],
        unset: vec!["TZ".to_owned()],
        end_leftovers: true,
        ..Command::default()
    }
}

/// Returns what a program says it is, or why that is no answer.
pub(in crate::fleet) async fn version(
    connection: &Connection,
    component: Component,
    masker: &Masker,
) -> Result<Result<String, String>, DeployError> {
    let command = command(component, component.version_argument());
    let mut tries = 0;
    loop {
        let run = run(connection, &command, TEST_LIMIT, masker).await?;
        tries += 1;
        if run.is_busy() && tries < BUSY_TRIES {
            tokio::time::sleep(BUSY_PAUSE * tries).await;
            continue;
        }
        let version = component.parse_version(&run.stdout);
        return Ok(match version {
            Some(version) if run.succeeded() => Ok(version),
            Some(_) => Err(run.explain()),
            None if run.succeeded() => Err(format!(
                "it printed no `{component} <version>` but `{}`",
                one_line(&run.stdout)
            )),
            None => Err(run.explain()),
        });
    }
}

/// Runs a command to its end, or to its limit.
pub(super) async fn run(
    connection: &Connection,
    command: &Command,
    limit: Duration,
    masker: &Masker,
) -> Result<Run, DeployError> {
    let limits = Limits {
        timeout: Some(limit),
        deadline: None,
        grace: GRACE,
    };
    // The cap is below what a capture holds in memory, so no file is made.
    let capture = || Capture::new(Some(MOST_OUTPUT), "unused".into());
    let mut sink = Sink {
        stdout: capture(),
        stderr: capture(),
        live: None,
    };
    let (_nobody, mut never) = shutdown::manual();
    let finished = supervise::run(connection, command, limits, &mut sink, &mut never).await;
    let text = |capture: &mut Capture| {
        let bytes = capture.read_all().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (stdout, stderr) = (text(&mut sink.stdout), text(&mut sink.stderr));
    let run = Run {
        stdout: masker.mask(&stdout).into_owned(),
        stderr: masker.mask(&stderr).into_owned(),
        finished,
        limit,
    };
    match run.finished.lost {
        Some(error) => Err(error.into()),
        None => Ok(run),
    }
}

/// A program that was run to its end.
pub(super) struct Run {
    pub(super) stdout: String,
    pub(super) stderr: String,
    finished: Finished,
    limit: Duration,
}

impl Run {
    pub(super) fn succeeded(&self) -> bool {
        self.finished.exit == Some(Exit::Code(0)) && self.finished.ended.is_none()
    }

    pub(super) fn is_busy(&self) -> bool {
        let said = self.stderr.to_lowercase();
        self.finished.exit == Some(Exit::Code(126)) && said.contains("text file busy")
    }

    pub(super) fn explain(&self) -> String {
        let finished = &self.finished;
        let how = match (&finished.not_started, finished.ended, &finished.exit) {
            (Some(NotStarted::Shell(said)), ..) => format!("the shell did not run it: {said}"),
            (Some(NotStarted::Missing(what)), ..) => format!("{what} is missing"),
            (Some(NotStarted::NoDirectory(what)), ..) => format!("{what} is no directory"),
            (None, Some(Ended::TimedOut | Ended::Stopped), _) => format!(
                "it did not end within {}",
                crate::support::span::human(self.limit)
            ),
            (None, None, Some(Exit::Code(code))) => format!("exit code {code}"),
            (None, None, Some(Exit::Signal(name))) => format!("ended by signal {name}"),
            (None, None, None) => "no exit status".to_owned(),
        };
        let said = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        match one_line(said) {
            said if said.is_empty() => how,
            said => format!("{how}: {said}"),
        }
    }
}

/// Returns the end of `text` as one line.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let skip = line.chars().count().saturating_sub(MOST_SHOWN);
    if skip == 0 {
        line
    } else {
        format!("…{}", line.chars().skip(skip).collect::<String>())
    }
}
