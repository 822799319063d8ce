//! Lets a host download its program itself. The digest it must have comes from here.
//!
//! It runs as a task, so a controller that goes away takes the download with it.

use std::fmt;
use std::time::Duration;

use super::Component;
use super::error::DeployError;
use super::plan::Former;
use super::trial;
use crate::fleet::release::Remote;
use crate::fleet::remote::{Command, Value};
use crate::ssh::Connection;
use crate::support::mask::Masker;

const TEMPLATE: &str = include_str!("../../../templates/fetch.sh");
/// Whoever needs longer for a program gives up on a stalled transfer first; this ends all the rest.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// What became of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetched {
    /// The program is in place.
    Placed,
    /// The very program stood there already and was left alone.
    Same,
}

/// Why a host could not get its program. The old one is untouched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It has nothing to download with.
    NoDownloader,
    /// The download failed.
    Download {
        /// From where.
        url: String,
        /// The program that tried, its exit code, and what it said.
        said: String,
    },
    /// It is not what it should be.
    Mismatch {
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Something else, in words.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDownloader => f.write_str("it has neither curl nor wget"),
            Self::Download { url, said } => write!(f, "{url}: {said}"),
            Self::Mismatch { expected, found } => write!(
                f,
                "what it downloaded has SHA-256 {found}, but {expected} was expected: nothing was installed"
            ),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl Failure {
    /// Returns what the user can do next.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::NoDownloader => {
                "install curl or wget there, or leave out --fetch host: this machine then downloads and sends it"
            }
            Self::Download { .. } => {
                "check that the host may reach this address, or leave out --fetch host: this machine then downloads and sends it"
            }
            Self::Mismatch { .. } => {
                "the file was changed or damaged on its way; leave out --fetch host to let this machine download it"
            }
            Self::Other(_) => {
                "leave out --fetch host: this machine then downloads it and sends the program"
            }
        }
    }
}

/// Has `remote` downloaded, checked and put in place of `component`.
///
/// # Errors
/// [`DeployError::Fetch`] when the host could not, else when the connection dies.
pub(super) async fn fetch(
    connection: &Connection,
    component: Component,
    remote: &Remote,
    former: Former,
    force: bool,
) -> Result<Fetched, DeployError> {
    let open = |name: &str, value: String| (name.to_owned(), Value::Open(value));
    let flag = |set: bool| if set { "1" } else { "" }.to_owned();
    let prev = match former {
        Former::Kept => format!("{}.prev", component.path()),
        Former::None | Former::Same => String::new(),
    };
    let command = Command {
        words: vec!["/bin/sh".into(), "-c".into(), TEMPLATE.into()],
        env: vec![
            open("GET_URL", remote.url.clone()),
            open("GET_SHA256", remote.sha256.to_string()),
            open("GET_PATH", component.path().to_owned()),
            open("GET_ARCHIVE", flag(remote.is_archive)),
            open("GET_PREV", prev),
            open("GET_AGAIN", flag(force)),
            open("GET_MOST", remote.max_bytes.to_string()),
        ],
        end_leftovers: true,
        ..Command::default()
    };
    let run = trial::run(connection, &command, LIMIT, &Masker::new(None)).await?;
    let answer = run
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("fetch "));
    let failure = match answer.map(|words| words.split_once(' ').unwrap_or((words, ""))) {
        Some(("ok", _)) if run.succeeded() => return Ok(Fetched::Placed),
        Some(("same", _)) if run.succeeded() => return Ok(Fetched::Same),
        Some((word, rest)) => explain(word, rest, remote, trial::one_line(&run.stderr)),
        None => Failure::Other(run.explain()),
    };
    Err(DeployError::Fetch { component, failure })
}

fn explain(word: &str, rest: &str, remote: &Remote, said: String) -> Failure {
    let what = match word {
        "nothing" => return Failure::NoDownloader,
        "failed" => {
            let (program, code) = rest.split_once(' ').unwrap_or((rest, "?"));
            let said = match said.as_str() {
                "" => format!("{program} ended with exit code {code}"),
                said => format!("{program} ended with exit code {code}: {said}"),
            };
            let url = remote.url.clone();
            return Failure::Download { url, said };
        }
        "digest" => {
            return Failure::Mismatch {
                expected: remote.sha256.to_string(),
                found: rest.to_owned(),
            };
        }
        "mkdir" => format!("cannot make directory {rest}"),
        "nodigest" => "it cannot check a download: no sha256sum, shasum or openssl".to_owned(),
        "notar" => "it cannot unpack the archive: no tar".to_owned(),
        "member" => "the archive does not hold exactly one file called picoclaw".to_owned(),
        "unpack" => "it cannot unpack the archive".to_owned(),
        "chmod" => "it cannot make the program executable".to_owned(),
        "keep" => "it cannot keep the former program".to_owned(),
        "rename" => "it cannot put the program in place".to_owned(),
        other => other.to_owned(),
    };
    match said.as_str() {
        "" => Failure::Other(what),
        said => Failure::Other(format!("{what}: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::fleet::release::Digest;

    fn run(shell: &str, home: &Path, url: &str, archive: bool, digest: Digest) -> Option<String> {
        let words: Vec<&str> = shell.split(' ').collect();
        let output = Command::new(words[0])
            .args(&words[1..])
            .args(["-c", TEMPLATE])
            .env("HOME", home)
            .env("GET_URL", url)
            .env("GET_SHA256", digest.to_string())
            .env("GET_PATH", "bin/picoclaw")
            .env("GET_ARCHIVE", if archive { "1" } else { "" })
            .env("GET_PREV", "bin/picoclaw.prev")
            .env("GET_MOST", "1000000")
            .output()
            .ok()?;
        Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    #[test]
    fn every_shell_puts_the_program_in_place_and_keeps_the_former() {
        if Command::new("curl").arg("--version").output().is_err() {
            return;
        }
        for shell in ["sh", "bash --posix", "busybox sh", "zsh --emulate sh"] {
            let home = tempfile::tempdir().unwrap();
            let there = home.path().join("of theirs");
            fs::create_dir(&there).unwrap();
            let mut last = String::new();
            for version in ["one", "two"] {
                let program = there.join("picoclaw");
                fs::write(&program, version).unwrap();
                let packed = there.join("x.tar.gz");
                let tar = Command::new("tar")
                    .args(["-czf", "x.tar.gz", "./picoclaw"])
                    .current_dir(&there)
                    .status();
                assert!(tar.unwrap().success());
                let digest = Digest::of(&fs::read(&packed).unwrap());
                let url = format!("file://{}/of%20theirs/x.tar.gz", home.path().display());
                for expected in ["fetch ok", "fetch same"] {
                    let Some(said) = run(shell, home.path(), &url, true, digest) else {
                        continue;
                    };
                    assert_eq!(said, expected, "{shell}");
                    let placed = fs::read_to_string(home.path().join("bin/picoclaw"));
                    assert_eq!(placed.unwrap(), version, "{shell}");
                    last = fs::read_to_string(home.path().join("bin/picoclaw.prev"))
                        .unwrap_or_default();
                }
                let wrong = Digest::of(b"other");
                if let Some(said) = run(shell, home.path(), &url, true, wrong) {
                    assert_eq!(said, format!("fetch digest {digest}"), "{shell}");
                    let left = fs::read_dir(home.path().join("bin")).unwrap().count();
                    assert_eq!(left, 1 + usize::from(!last.is_empty()), "{shell}");
                    assert_eq!(last, if version == "two" { "one" } else { "" }, "{shell}");
                }
            }
        }
    }
}
