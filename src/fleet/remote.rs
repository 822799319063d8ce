//! What runs on a host, as values: a command with its environment, directory and input.
//!
//! Only here does a command become shell text, by way of [`Code`], which quotes in one place.

use std::fmt;

use crate::ssh::shell::{self, Code};
use crate::ssh::upload::path_word;
use crate::support::secret::Secret;

/// One word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Bytes as they are.
    Plain(Vec<u8>),
    /// A path below the login user's home, which only the host knows.
    InHome(String),
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self::Plain(text.as_bytes().to_vec())
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InHome(path) => write!(f, "~/{path}"),
            Self::Plain(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                let plain = |c: char| c.is_alphanumeric() || "_-./:=@%+,".contains(c);
                if !text.is_empty() && text.chars().all(plain) {
                    f.write_str(&text)
                } else {
                    write!(f, "'{}'", text.replace('\'', "'\\''"))
                }
            }
        }
    }
}

/// What a command gets on its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Input {
    /// End of file at once.
    #[default]
    Nothing,
    /// A text without NUL, sent along with the command.
    Text(Vec<u8>),
    /// A file already on the host; it is removed as soon as it is open.
    File(String),
}

/// A value of the environment. Secrets are masked in whatever is shown.
#[derive(Debug, Clone)]
pub enum Value {
    /// May be shown.
    Open(String),
    /// Must not be shown.
    Hidden(Secret),
}

/// Another user to run as, by way of `sudo`.
#[derive(Debug, Clone, Default)]
pub struct Sudo {
    /// Whom; none = root.
    pub user: Option<String>,
    /// What sudo asks for; none = it must not ask.
    pub password: Option<Secret>,
}

impl Sudo {
    /// Returns what starts sudo, before the shell it is to run.
    pub fn prefix(&self) -> String {
        let ask = if self.password.is_some() {
            "-S -p \"\""
        } else {
            "-n"
        };
        let user = self.user.as_deref().unwrap_or("root");
        format!("sudo {ask} -H -u {user} --")
    }
}

/// A command that cannot be sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A NUL byte cannot be part of an argument or a variable.
    #[error("{what} contains a NUL byte, which no command can take")]
    Nul {
        /// Which part.
        what: String,
    },
    /// One argument is longer than the kernel takes.
    #[error(
        "an argument of {length} bytes is over the limit of {MOST_ARGUMENT} a command can take"
    )]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// Not a name a shell can set, or one the supervisor uses itself.
    #[error(
        "`{0}` is not a variable name, or begins with `_` and has two letters, which is reserved"
    )]
    BadName(String),
    /// Not a name a user can have.
    #[error("`{0}` is not a user name")]
    BadUser(String),
    /// There is nothing to run.
    #[error("the command is empty")]
    Empty,
}

/// The longest argument: Linux takes 128 KiB, and the rest is left for its own bookkeeping.
pub const MOST_ARGUMENT: usize = 120 << 10;

/// A command for one host.
#[derive(Debug, Clone, Default)]
pub struct Command {
    /// Program and arguments.
    pub words: Vec<Word>,
    /// Words to add if the program's help for its first argument mentions a flag, as in
    /// `picoclaw agent --help`: older versions do not know every flag.
    pub if_offered: Option<(&'static str, Vec<Word>)>,
    /// Variables to set.
    pub env: Vec<(String, Value)>,
    /// Variables to unset.
    pub unset: Vec<String>,
    /// Directory to run in; `~/` is the home.
    pub directory: Option<String>,
    /// Standard input.
    pub input: Input,
    /// Run it as another user.
    pub sudo: Option<Sudo>,
    /// Whether a missing program is reported as `missing` instead of run into.
    pub must_be_installed: bool,
    /// Whether what the task leaves running in its process group is ended too.
    pub end_leftovers: bool,
}

impl Command {
    /// Checks that the command can be sent as it is.
    ///
    /// # Errors
    /// What is wrong with it; nothing has been contacted yet then.
    pub fn check(&self) -> Result<(), Error> {
        if self.words.is_empty() {
            return Err(Error::Empty);
        }
        for word in &self.words {
            if let Word::Plain(bytes) = word {
                if bytes.contains(&0) {
                    return Err(Error::Nul {
                        what: "an argument".into(),
                    });
                }
                if bytes.len() > MOST_ARGUMENT {
                    return Err(Error::TooLong {
                        length: bytes.len(),
                    });
                }
            }
        }
        for (name, value) in &self.env {
            if !shell::is_variable_name(name) || shell::is_reserved_name(name) {
                return Err(Error::BadName(name.clone()));
            }
            if value.expose().as_bytes().contains(&0) {
                return Err(Error::Nul {
                    what: format!("the value of {name}"),
                });
            }
        }
        if let Some(user) = self.sudo.as_ref().and_then(|sudo| sudo.user.as_ref())
            && (user.starts_with('-')
                || user.is_empty()
                || !user
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)))
        {
            return Err(Error::BadUser(user.clone()));
        }
        if let Input::Text(text) = &self.input
            && text.contains(&0)
        {
            return Err(Error::Nul {
                what: "the text for standard input".into(),
            });
        }
        Ok(())
    }

    /// Returns the code that the supervisor evaluates last before it becomes the command.
    pub fn code(&self) -> Code {
        let mut code = Code::new();
        for name in self
            .unset
            .iter()
            .filter(|name| shell::is_variable_name(name))
        {
            code = code.raw("unset ").word(name.as_bytes()).raw(";");
        }
        for (name, value) in &self.env {
            code = code.export(name, value.expose().as_bytes());
        }
        match &self.input {
            Input::Nothing => {}
            Input::Text(text) => code = code.raw("_i=").word(text).raw(";"),
            // Opened before anything else, by the settings.
            Input::File(_) => {}
        }
        // The login directory is not always $HOME, which is where a person expects to be.
        let directory = self.directory.as_deref().unwrap_or("~/");
        code = path_word(code.raw("cd -- "), directory);
        code = path_word(code.raw(" 2>/dev/null || { echo \"$_m nodir \""), directory);
        code = words(code.raw("; exit 1; }; set --"), &self.words);
        if self.must_be_installed {
            code = code
                .raw("; command -v \"$1\" >/dev/null || { echo \"$_m missing $1\"; exit 127; }");
        }
        if let Some((flag, more)) = &self.if_offered {
            code = code
                .raw("; \"$1\" \"$2\" --help 2>&1 | grep -qe ")
                .word(flag.as_bytes());
            code = words(code.raw(" && set -- \"$@\""), more);
        }
        code
    }

    /// Returns the settings line of the supervisor.
    pub fn settings(&self, grace: std::time::Duration) -> Code {
        let leftovers = u64::from(self.end_leftovers);
        let code = Code::new()
            .raw("_g=")
            .number(grace.as_secs())
            .raw("; _l=")
            .number(leftovers);
        match &self.input {
            Input::File(path) => path_word(code.raw("; _j="), path),
            Input::Nothing | Input::Text(_) => code,
        }
    }
}

fn words(mut code: Code, words: &[Word]) -> Code {
    for word in words {
        code = match word {
            Word::Plain(bytes) => code.raw(" ").word(bytes),
            Word::InHome(path) => code.raw(" \"$HOME\"/").word(path.as_bytes()),
        };
    }
    code
}

impl Value {
    /// Returns the value, for the place that sends it.
    pub fn expose(&self) -> &str {
        match self {
            Self::Open(text) => text,
            Self::Hidden(secret) => secret.expose(),
        }
    }
}

impl Value {
    /// Returns the value if it may be shown.
    pub fn open(&self) -> Option<&str> {
        match self {
            Self::Open(text) => Some(text),
            Self::Hidden(_) => None,
        }
    }
}

impl fmt::Display for Command {
    /// Writes the command as a person would type it, secrets masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(directory) = &self.directory {
            write!(f, "cd {} && ", Word::from(directory.as_str()))?;
        }
        for (name, value) in &self.env {
            match value {
                Value::Open(text) if !crate::support::mask::is_secret_name(name) => {
                    write!(f, "{name}={} ", Word::from(text.as_str()))?;
                }
                Value::Open(_) | Value::Hidden(_) => write!(f, "{name}=*** ")?,
            }
        }
        if let Some(sudo) = &self.sudo {
            write!(f, "sudo -u {} ", sudo.user.as_deref().unwrap_or("root"))?;
        }
        for (n, word) in self.words.iter().enumerate() {
            write!(f, "{}{word}", if n == 0 { "" } else { " " })?;
        }
        match &self.input {
            Input::Nothing => Ok(()),
            Input::Text(_) => write!(f, " < (task text)"),
            Input::File(path) => write!(f, " < {path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_sent_is_refused_here() {
        let with = |words: &[&[u8]]| Command {
            words: words.iter().map(|w| Word::Plain(w.to_vec())).collect(),
            ..Command::default()
        };
        assert_eq!(with(&[]).check(), Err(Error::Empty));
        assert!(matches!(with(&[b"a\0b"]).check(), Err(Error::Nul { .. })));
        let long = vec![b'x'; MOST_ARGUMENT + 1];
        assert!(matches!(
            with(&[b"a", &long]).check(),
            Err(Error::TooLong { .. })
        ));
        let mut bad_name = with(&[b"true"]);
        bad_name.env = vec![("A;id".into(), Value::Open("x".into()))];
        assert_eq!(bad_name.check(), Err(Error::BadName("A;id".into())));
    }

    #[test]
    fn shown_as_typed_and_without_secrets() {
        let command = Command {
            words: vec![
                Word::InHome(".local/bin/picoclaw".into()),
                "agent".into(),
                "it's".into(),
            ],
            env: vec![
                ("LANG".into(), Value::Open("C".into())),
                ("API_KEY".into(), Value::Open("sk-1".into())),
                ("X".into(), Value::Hidden(Secret::new("sk-2".into()))),
            ],
            directory: Some("/tmp/a b".into()),
            ..Command::default()
        };
        assert_eq!(
            command.to_string(),
            r"cd '/tmp/a b' && LANG=C API_KEY=*** X=*** ~/.local/bin/picoclaw agent 'it'\''s'"
        );
    }
}
