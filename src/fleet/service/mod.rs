//! The service of a host's daemon: a systemd user unit, or a script of ours where systemd runs none.
//!
//! Root gets a user unit, too: one form for everybody, nothing outside the home, and no quarrel with systems
//! whose policy keeps the system's manager from running programs out of homes.

pub mod lent;
pub mod settings;
pub mod texts;

use std::fmt;
use std::time::Duration;

use crate::fleet::ask::{Answer, ask};
use crate::ssh::shell::Code;
use crate::ssh::upload::path_word;
use crate::ssh::{Connection, Error};

const TEMPLATE: &str = include_str!("../../../templates/service.sh");
/// What an answer may take that waits for no job.
const LIMIT: Duration = Duration::from_secs(60);
/// The most of the daemon's last lines that a message shows, in characters.
const MOST_SHOWN: usize = 2000;

/// What runs the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// systemd, for this user.
    Systemd,
    /// launchd, for this user, by way of `keeper.sh`.
    Launchd,
    /// `keeper.sh`.
    Keeper,
}

impl Manager {
    const fn word(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Launchd => "launchd",
            Self::Keeper => "keeper",
        }
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A daemon that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// What keeps it running.
    pub manager: Manager,
    /// Its process.
    pub pid: u32,
    /// When that began, in a form of the host's own: no two processes with one number have it in common.
    pub since: String,
    /// It answers on its control socket.
    pub answers: bool,
}

impl Running {
    /// Tells whether `other` is the same process.
    pub fn is(&self, other: &Self) -> bool {
        (self.pid, &self.since) == (other.pid, &other.since)
    }

    fn parse(words: &str) -> Option<Self> {
        let words: Vec<&str> = words.split(' ').collect();
        let ["up", manager, pid, since, state] = words.as_slice() else {
            return None;
        };
        Some(Self {
            manager: match *manager {
                "systemd" => Manager::Systemd,
                "launchd" => Manager::Launchd,
                "keeper" => Manager::Keeper,
                _ => return None,
            },
            pid: pid.parse().ok()?,
            since: (*since).to_owned(),
            answers: *state == "answers",
        })
    }
}

/// What a start came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// The daemon runs and answers.
    Up(Running),
    /// It does not; its last lines.
    Down(String),
}

/// Returns the daemon that runs on the host, if one does. `state_dir` is its directory; `~/` is the home.
///
/// # Errors
/// When the connection dies or the host gives no answer of ours.
pub async fn look(connection: &Connection, state_dir: &str) -> Result<Option<Running>, Error> {
    let code = path_word(code("look").raw(";y="), state_dir);
    let answer = ask(connection, TEMPLATE, code, LIMIT).await?;
    Ok(Running::parse(&answer.words))
}

/// Returns what the daemon said last.
///
/// # Errors
/// As [`look`].
pub async fn last_lines(connection: &Connection) -> Result<String, Error> {
    let answer = ask(connection, TEMPLATE, code("lines"), LIMIT).await?;
    Ok(shown(&answer.body))
}

/// Chooses what is to run the daemon, and has systemd keep this user's services if it can. Returns why
/// systemd does not.
///
/// # Errors
/// As [`look`].
pub async fn choose(connection: &Connection) -> Result<(Manager, Option<String>), Error> {
    let answer = ask(connection, TEMPLATE, code("choose"), LIMIT).await?;
    match answer.words.split_once(' ') {
        Some(("keeper", why)) => Ok((Manager::Keeper, Some(why.to_owned()))),
        None if answer.words == "systemd" => Ok((Manager::Systemd, None)),
        None if answer.words == "launchd" => Ok((Manager::Launchd, None)),
        _ => Err(unexpected(&answer)),
    }
}

/// Starts the daemon, and sees to it that it is started again whenever it ends and when the machine starts.
/// With `again` one that runs is ended first, which it may take up to `drain` and a little for.
///
/// # Errors
/// As [`look`].
pub async fn start(
    connection: &Connection,
    manager: Manager,
    again: bool,
    drain: Duration,
    state_dir: &str,
) -> Result<Started, Error> {
    let wait = texts::stop_limit(drain);
    let code = code("start").raw(";i=").word(texts::PLIST.as_bytes());
    let code = code.raw(";m=").word(manager.word().as_bytes());
    let code = code.raw(";r=").number(u64::from(again));
    let code = code.raw(";w=").number(wait.as_secs());
    let code = path_word(code.raw(";y="), state_dir);
    let answer = ask(connection, TEMPLATE, code, wait + LIMIT).await?;
    if let Some(running) = Running::parse(&answer.words) {
        return Ok(Started::Up(running));
    }
    match answer.words.as_str() {
        "down" => Ok(Started::Down(shown(&answer.body))),
        _ => Err(unexpected(&answer)),
    }
}

/// Ends the daemon and keeps it from being started again. With `at_once` its jobs are not waited for.
///
/// # Errors
/// As [`look`].
pub async fn stop(connection: &Connection, drain: Duration, at_once: bool) -> Result<(), Error> {
    let wait = texts::stop_limit(drain);
    let code = code("stop").raw(";w=").number(wait.as_secs());
    let code = code.raw(";f=").number(u64::from(at_once));
    let answer = ask(connection, TEMPLATE, code, wait + LIMIT).await?;
    match answer.words.as_str() {
        "stopped" => Ok(()),
        _ => Err(unexpected(&answer)),
    }
}

fn code(act: &'static str) -> Code {
    Code::new()
        .raw("a=")
        .raw(act)
        .raw(";j=")
        .word(texts::CRON.as_bytes())
}

fn unexpected(answer: &Answer) -> Error {
    Error::Lost {
        why: format!(
            "the host's shell did not run our script; it said `{}`",
            answer.words
        ),
    }
}

/// Returns the end of what a daemon said, without what could move a terminal's cursor.
fn shown(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(MOST_SHOWN);
    let end: String = text.chars().skip(skip).collect();
    let lines = end
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).collect());
    let lines: Vec<String> = lines.filter(|line: &String| !line.is_empty()).collect();
    match lines.is_empty() {
        true => "it said nothing".to_owned(),
        false => lines.join(" | "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_known_by_number_and_time() {
        let running = Running::parse("up keeper 7 123 answers").unwrap();
        assert_eq!((running.pid, running.answers), (7, true));
        assert!(running.is(&Running::parse("up systemd 7 123 silent").unwrap()));
        assert!(!running.is(&Running::parse("up keeper 7 124 answers").unwrap()));
        for other in [
            "down",
            "up",
            "up upstart 7 1 answers",
            "up keeper x 1 answers",
        ] {
            assert_eq!(Running::parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_last_lines_are_shown_on_one() {
        assert_eq!(shown("a\n\n\u{1b}[2Jb\n"), "a | [2Jb");
        assert_eq!(shown("\n"), "it said nothing");
        assert!(shown(&"x".repeat(9000)).len() <= MOST_SHOWN);
    }
}
