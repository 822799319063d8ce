//! Looks at a host before a deploy, in one round trip that writes nothing.
//!
//! What comes back holds keys, so files are kept as [`Secret`]s and the answer is never shown.

use std::time::Duration;

use super::desk::Desk;
use super::error::DeployError;
use crate::fleet::agent::picoclaw;
use crate::fleet::release::Digest;
use crate::fleet::target::{self, Target};
use crate::ssh::Connection;
use crate::ssh::shell::Code;
use crate::ssh::upload::path_word;
use crate::support::secret::Secret;

/// A host that takes longer to read four files and hash two programs is stuck.
const LIMIT: Duration = Duration::from_secs(60);

/// A file of PicoClaw's that a deploy changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum File {
    /// `~/.picoclaw/.env`.
    Env,
    /// `~/.picoclaw/config.json`.
    Config,
    /// `~/.picoclaw/.security.yml`.
    Security,
}

impl File {
    /// All of them, in the order in which the host tells of them and in which they are written.
    pub const ALL: [Self; 3] = [Self::Env, Self::Config, Self::Security];

    /// Returns its name below the agent's directory.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Env => ".env",
            Self::Config => "config.json",
            Self::Security => ".security.yml",
        }
    }

    /// Returns its path, with `~` for the home directory.
    pub fn path(self) -> String {
        format!("~/{}/{}", picoclaw::HOME, self.name())
    }
}

/// What stands at a program's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtPath {
    /// Nothing.
    Nothing,
    /// A file with this digest; none if the host cannot tell.
    File(Option<Digest>),
    /// Something that is no file.
    Other,
}

/// What stands at the path of one of our files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A file.
    Text {
        /// What it says.
        text: Secret,
        /// Its permission bits.
        mode: u32,
    },
    /// Something that cannot be merged into, and why.
    Unusable(&'static str),
}

impl Found {
    /// Returns the text, if there is any.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text { text, .. } => Some(text.expose()),
            Self::Nothing | Self::Unusable(_) => None,
        }
    }
}

/// What stands at the paths of our files, in the order of [`File::ALL`].
pub type Files = [Found; 3];

/// What stands at the paths of the host daemon's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonFiles {
    /// The user's home.
    pub home: String,
    /// Its settings.
    pub settings: Found,
    /// The unit for systemd.
    pub unit: Found,
    /// The script for hosts without systemd.
    pub keeper: Found,
}

/// What a deploy knows of a host before it changes anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What it runs on.
    pub target: Result<Target, target::Error>,
    /// What stands at the paths that were asked for.
    pub programs: Vec<AtPath>,
    /// Free space where programs go, in bytes, if the host can tell.
    pub free: Option<u64>,
    /// Whether an ephemeral run is at work there, or has left something.
    pub is_ephemeral: bool,
    /// What stands at the paths of our files, in the order of [`File::ALL`].
    pub files: Files,
    /// The host daemon's, if they were asked for.
    pub daemon: Option<DaemonFiles>,
}

impl Observed {
    /// Returns what stands at the path of `file`.
    pub fn file(&self, file: File) -> &Found {
        let [env, config, security] = &self.files;
        match file {
            File::Env => env,
            File::Config => config,
            File::Security => security,
        }
    }
}

/// Asks the host. `programs` are paths below the home directory; `daemon` asks for its files, too.
///
/// # Errors
/// When the connection dies or the answer is none of ours.
pub async fn observe(
    connection: &Connection,
    programs: &[&str],
    daemon: bool,
) -> Result<Observed, DeployError> {
    let mut desk = Desk::new(connection);
    let observed = look(&mut desk, programs, daemon, None).await;
    desk.leave().await;
    observed
}

/// Asks the host for our files alone.
///
/// # Errors
/// As [`observe`].
pub async fn observe_files(connection: &Connection) -> Result<Files, DeployError> {
    let mut desk = Desk::new(connection);
    let files = look_at_files(&mut desk).await;
    desk.leave().await;
    files
}

/// Asks the host as [`observe`] does. What cannot have changed since `earlier` is not asked again.
///
/// # Errors
/// As [`observe`].
pub(super) async fn look(
    desk: &mut Desk<'_>,
    programs: &[&str],
    daemon: bool,
    earlier: Option<&Observed>,
) -> Result<Observed, DeployError> {
    let code = Code::new().raw(if earlier.is_some() { "w=2" } else { "w=1" });
    let mut code = code.raw(";s=").number(u64::from(daemon)).raw(";look");
    for program in programs {
        code = path_word(code.raw(" "), &format!("~/{program}"));
    }
    let answer = desk.ask_long(code, LIMIT).await?;
    read(&answer.body, earlier).ok_or_else(broken_off)
}

/// Asks the host for our files alone.
///
/// # Errors
/// As [`observe`].
pub(super) async fn look_at_files(desk: &mut Desk<'_>) -> Result<Files, DeployError> {
    let answer = desk.ask_long(Code::new().raw("w=;s=;look"), LIMIT).await?;
    let mut lines = Lines(&answer.body);
    let files = lines.files().ok_or_else(broken_off)?;
    lines.0.is_empty().then_some(files).ok_or_else(broken_off)
}

fn broken_off() -> DeployError {
    DeployError::Answer {
        said: "a broken-off answer".into(),
    }
}

/// Reads the facts in the order in which the template tells them.
fn read(answer: &[u8], earlier: Option<&Observed>) -> Option<Observed> {
    let mut lines = Lines(answer);
    let target = match earlier {
        Some(earlier) => earlier.target.clone(),
        None => Target::from_uname(lines.fact("uname")?),
    };
    let mut programs = Vec::new();
    while let Some(program) = lines.fact("program") {
        programs.push(match program {
            "none" => AtPath::Nothing,
            "other" => AtPath::Other,
            digest => AtPath::File(digest.parse().ok()),
        });
    }
    let free = match earlier {
        Some(earlier) => earlier.free,
        None => kibibytes(lines.fact("disk")?),
    };
    let is_ephemeral = lines.fact("ephemeral")? == "yes";
    let home = lines.fact("home").map(str::to_owned);
    let files = lines.files()?;
    let daemon = match home {
        Some(home) => Some(DaemonFiles {
            home,
            settings: lines.file()?,
            unit: lines.file()?,
            keeper: lines.file()?,
        }),
        None => None,
    };
    lines.0.is_empty().then_some(Observed {
        target,
        programs,
        free,
        is_ephemeral,
        files,
        daemon,
    })
}

fn kibibytes(said: &str) -> Option<u64> {
    let kibibytes: u64 = said.parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

/// Reads the first column of `ls -l`; what is not understood counts as no permission.
fn permissions(listed: &str) -> u32 {
    let letters = listed.chars().skip(1).take(9);
    letters.fold(0, |mode, letter| mode << 1 | u32::from(letter != '-'))
}

struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn peek(&self) -> Option<(&'a str, &'a [u8])> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(self.0.get(..end)?).ok()?;
        Some((line, self.0.get(end + 1..)?))
    }

    /// Takes the next line if it is about `name`.
    fn fact(&mut self, name: &str) -> Option<&'a str> {
        let (line, rest) = self.peek()?;
        let value = line.strip_prefix(name)?.strip_prefix(' ')?;
        self.0 = rest;
        Some(value)
    }

    /// Takes the agent's files.
    fn files(&mut self) -> Option<Files> {
        Some([self.file()?, self.file()?, self.file()?])
    }

    fn file(&mut self) -> Option<Found> {
        let fact = self.fact("file")?;
        let (length, mode) = match fact {
            "none" => return Some(Found::Nothing),
            "other" => return Some(Found::Unusable("it is no regular file")),
            "large" => return Some(Found::Unusable("it is larger than 256 KiB")),
            "unreadable" => return Some(Found::Unusable("it cannot be read")),
            readable => readable.split_once(' ')?,
        };
        let length: usize = length.parse().ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest.strip_prefix(b"\n")?;
        let Ok(text) = String::from_utf8(bytes.to_vec()) else {
            return Some(Found::Unusable("it is not UTF-8 text"));
        };
        Some(Found::Text {
            text: Secret::new(text),
            mode: permissions(mode),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_template_tells() {
        let digest = Digest::of(b"x");
        let answer = format!(
            "uname Linux x86_64\nprogram {digest}\nprogram none\ndisk 7\nephemeral yes\n\
             file 6 -rw-r--r--\nA=1\n\nB\nfile none\nfile 0 -rw-------.\n\n"
        );
        let seen = read(answer.as_bytes(), None).unwrap();
        assert_eq!(seen.target.unwrap().to_string(), "linux/amd64");
        assert_eq!(seen.programs, [AtPath::File(Some(digest)), AtPath::Nothing]);
        assert_eq!((seen.free, seen.is_ephemeral), (Some(7168), true));
        let text = |text: &str, mode| Found::Text {
            text: Secret::new(text.into()),
            mode,
        };
        assert_eq!(
            seen.files,
            [text("A=1\n\nB", 0o644), Found::Nothing, text("", 0o600)]
        );
        for cut in 0..answer.len() - 1 {
            let cut_off = read(&answer.as_bytes()[..cut], None);
            assert_eq!(cut_off, None, "cut at {cut}");
        }
    }

    #[test]
    fn a_file_that_is_no_text_is_not_merged_into() {
        let answer =
            b"uname a b\ndisk \nephemeral no\nfile 1 -rw-------\n\xff\nfile other\nfile large\n";
        let seen = read(answer, None).unwrap();
        assert!(seen.target.is_err());
        assert_eq!(seen.free, None);
        for file in File::ALL {
            assert!(matches!(seen.file(file), Found::Unusable(_)), "{file:?}");
        }
    }

    #[test]
    fn what_was_seen_is_never_shown() {
        let found = Found::Text {
            text: Secret::new("sk-hidden".into()),
            mode: 0o600,
        };
        assert!(!format!("{found:?}").contains("hidden"));
    }
}
