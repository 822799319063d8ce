//! Where an API key comes from, and getting it from there.
//!
//! A key is never in the fleet file, never an argument of a command, and never in an error.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;

use crate::support::secret::Secret;

/// A password manager that wants a touch needs a moment; one that waits for ever must not stop us.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// No key is longer; more than this is the wrong file.
const LONGEST: u64 = 64 * 1024;

/// Where the API key of a host comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum KeySource {
    /// The environment variable of this name, on the controller.
    #[serde(rename = "api_key_env")]
    Env(String),
    /// This file, on the controller.
    #[serde(rename = "api_key_file")]
    File(PathBuf),
    /// What this command prints, run by `sh -c` on the controller.
    #[serde(rename = "api_key_cmd")]
    Cmd(String),
}

/// A key that could not be had. Trying again helps only after the user did something about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The variable is not there, or empty.
    #[error("API key: the variable {name} is {state}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong with it.
        state: &'static str,
    },
    /// The file cannot be read.
    #[error("API key: read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The command cannot be run.
    #[error("API key: run `{command}`")]
    Run {
        /// What was run.
        command: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The command ended badly.
    #[error("API key: the command `{command}` failed: {status}")]
    Status {
        /// What was run.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The command did not end.
    #[error("API key: the command `{command}` gave no answer within {limit}s")]
    Slow {
        /// What was run.
        command: String,
        /// How long was waited, in seconds.
        limit: u64,
    },
    /// What came is no key.
    #[error("API key: what {from} gave {state}")]
    Unusable {
        /// Which source.
        from: String,
        /// What is wrong with it.
        state: &'static str,
    },
}

impl Error {
    /// Returns what the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Variable { name, .. } => format!(
                "export {name}=…, or name another source in the fleet file: api_key_env, api_key_file or api_key_cmd"
            ),
            Self::File { path, .. } => format!(
                "put the key alone into {} (mode 0600), or change api_key_file",
                path.display()
            ),
            Self::Run { command, .. }
            | Self::Status { command, .. }
            | Self::Slow { command, .. } => format!(
                "run `{command}` by hand: it must print the key, ask nothing on stdin and end within {}s",
                COMMAND_LIMIT.as_secs()
            ),
            Self::Unusable { from, .. } => format!("{from} must give the key alone, on one line"),
        }
    }
}

impl KeySource {
    /// Gets the key. Blocks: a command may take up to ten seconds.
    ///
    /// Hosts with equal sources have equal keys: ask once per source, not once per host.
    ///
    /// # Errors
    /// When there is no usable key; the error names the source and never the value.
    pub fn read(&self) -> Result<Secret, Error> {
        match self {
            Self::Env(name) => from_variable(name, std::env::var_os(name)),
            Self::File(path) => from_file(path),
            Self::Cmd(command) => from_command(command, COMMAND_LIMIT),
        }
    }
}

fn from_variable(name: &str, value: Option<std::ffi::OsString>) -> Result<Secret, Error> {
    let fail = |state| Error::Variable {
        name: name.to_owned(),
        state,
    };
    match value.map(std::ffi::OsString::into_string) {
        None => Err(fail("not set")),
        Some(Err(_)) => Err(fail("not UTF-8 text")),
        Some(Ok(value)) if value.is_empty() => Err(fail("empty")),
        Some(Ok(value)) => usable(value.into_bytes(), || format!("the variable {name}")),
    }
}

fn from_file(path: &std::path::Path) -> Result<Secret, Error> {
    let fail = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(fail)?;
    let mode = file.metadata().map_err(fail)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            mode = format!("{:03o}", mode & 0o777),
            "API key file can be read or written by others: run chmod 600 on it"
        );
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    usable(bytes, || path.display().to_string())
}

fn from_command(command: &str, limit: Duration) -> Result<Secret, Error> {
    let fail = |source| Error::Run {
        command: command.to_owned(),
        source,
    };
    let deadline = Instant::now() + limit;
    // A group of its own, so that what the command started ends with it.
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .process_group(0)
        .spawn()
        .map_err(fail)?;
    let (sender, answer) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        // Its own thread: a grandchild that keeps the pipe open must not hold us past the deadline.
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(LONGEST + 1).read_to_end(&mut bytes);
            let _ = sender.send(read.map(|_| bytes));
        });
    }
    let read = answer.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    let status = wait_until(&mut child, deadline).map_err(fail)?;
    let (Ok(bytes), Some(status)) = (read, status) else {
        kill_group(&mut child);
        return Err(Error::Slow {
            command: command.to_owned(),
            limit: limit.as_secs(),
        });
    };
    if !status.success() {
        return Err(Error::Status {
            command: command.to_owned(),
            status,
        });
    }
    usable(bytes.map_err(fail)?, || format!("the command `{command}`"))
}

fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if Instant::now() >= deadline => return Ok(None),
            None => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn kill_group(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have just ended; then there is nobody to kill and nothing to report.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

fn usable(bytes: Vec<u8>, from: impl Fn() -> String) -> Result<Secret, Error> {
    let fail = |state| Error::Unusable {
        from: from(),
        state,
    };
    if bytes.len() as u64 > LONGEST {
        return Err(fail("is far too long for a key"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| fail("is not UTF-8 text"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    // Whatever happens next, the text is in custody and will be wiped.
    let secret = Secret::new(text);
    if secret.expose().is_empty() {
        return Err(fail("is empty"));
    }
    if secret.expose().contains(|c: char| c.is_control()) {
        return Err(fail("has more than one line or a control character"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use super::*;

    #[test]
    fn a_variable_must_hold_something() {
        let set = from_variable("K", Some(OsString::from("abc"))).unwrap();
        assert_eq!(set.expose(), "abc");
        for (value, text) in [(None, "not set"), (Some(OsString::new()), "empty")] {
            let error = from_variable("MY_KEY", value).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("API key: the variable MY_KEY is {text}")
            );
            assert!(error.hint().contains("export MY_KEY="));
        }
    }

    #[test]
    fn a_file_loses_one_newline_and_must_be_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "abc\r\n").unwrap();
        let read = || KeySource::File(path.clone()).read();
        assert_eq!(read().unwrap().expose(), "abc");
        for bad in [
            "",
            "\n",
            "very-secret\nx\n",
            "a\u{1b}b",
            &"x".repeat(70_000),
        ] {
            fs::write(&path, bad).unwrap();
            let error = read().unwrap_err();
            assert!(
                error.to_string().contains(path.to_str().unwrap()),
                "{error}"
            );
            assert!(!format!("{error} {error:?} {}", error.hint()).contains("very-secret"));
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(read(), Err(Error::File { .. })));
    }

    #[test]
    fn a_file_that_others_can_read_is_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "very-secret").unwrap();
        let logged = |mode: u32| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let log = dir.path().join("log");
            let subscriber = tracing_subscriber::fmt()
                .with_writer(std::sync::Mutex::new(File::create(&log).unwrap()))
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                assert!(KeySource::File(path.clone()).read().is_ok());
            });
            fs::read_to_string(log).unwrap()
        };
        assert_eq!(logged(0o600), "");
        let warning = logged(0o640);
        assert!(
            warning.contains("chmod 600") && warning.contains("640"),
            "{warning}"
        );
        assert!(!warning.contains("very-secret"));
    }

    #[test]
    fn a_command_prints_the_key_or_is_named() {
        let run = |command: &str| from_command(command, Duration::from_secs(5));
        assert_eq!(run("printf abc").unwrap().expose(), "abc");
        assert_eq!(
            run("cat; echo abc").unwrap().expose(),
            "abc",
            "stdin is closed"
        );
        let failed = run("echo hidden; exit 3").unwrap_err();
        assert!(matches!(failed, Error::Status { .. }));
        assert!(!format!("{failed:?}").contains("\"hidden\""));
        assert!(matches!(run("true").unwrap_err(), Error::Unusable { .. }));
    }

    #[test]
    fn a_command_that_hangs_or_leaves_a_child_on_the_pipe_is_ended() {
        for command in ["sleep 30", "sleep 30 & echo abc"] {
            let begun = Instant::now();
            let error = from_command(command, Duration::from_millis(200)).unwrap_err();
            assert!(matches!(error, Error::Slow { .. }), "{error}");
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
    }
}
