//! Leaves a host as it was. A guard on the host writes down what is there before anything is changed, and
//! undoes the change when it is told to, or when the connection to us is gone for any reason.
//!
//! Undoing is done by one script in every case: by the guard, by us where the guard died, and by whoever
//! comes next to a host whose guard went down with it. Doing it twice is the same as doing it once.

use std::sync::LazyLock;
use std::time::Duration;

use crate::fleet::ask::{Answer, ask};
use crate::protocol::GroupId;
use crate::ssh::framing::{Step, Unframer};
use crate::ssh::shell::{Code, Marker, command_line, header};
use crate::ssh::{Connection, Error as SshError, Event, Exec};
use crate::support::clock::Timestamp;
use crate::support::ids::random_hex;

const TEMPLATE: &str = include_str!("../../templates/ephemeral.sh");
static GUARD: LazyLock<String> = LazyLock::new(|| command_line(TEMPLATE));

/// Where the mark is on a host.
pub const PLACE: &str = "~/.local/state/skyclaw/ephemeral";
/// One question, which may have to wait for tasks to end.
const LIMIT: Duration = Duration::from_secs(60);
/// The most of a mark or a reason that is shown, in characters.
const MOST_SHOWN: usize = 200;
/// The most of the guard's answer that is kept, in bytes.
const MOST_KEPT: usize = 64 << 10;

/// Whose changes are to be undone.
#[derive(Debug, Clone)]
pub struct Mark {
    key: String,
    text: String,
    grace: Duration,
}

impl Mark {
    /// Returns the mark of a run. `grace` is what its tasks get between TERM and KILL.
    pub fn new(run: GroupId, now: Timestamp, grace: Duration) -> Self {
        let uname = rustix::system::uname();
        let machine = uname.nodename().to_string_lossy();
        let user = crate::fleet::link::local_user();
        let pid = std::process::id();
        Self {
            key: random_hex::<8>(),
            text: format!("run {run} of {user}@{machine} (process {pid}) since {now}"),
            grace,
        }
    }

    fn code(&self, act: &'static str, host: &str) -> Code {
        let key = format!("{} {host}", self.key);
        Code::new()
            .raw("a=")
            .raw(act)
            .raw("; r=")
            .word(key.as_bytes())
            .raw("; w=")
            .word(self.text.replace('\n', " ").as_bytes())
            .raw("; g=")
            .number(self.grace.as_secs())
    }
}

/// Why a host could not be guarded or put back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection died. The host undoes by itself what was done.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// Another run is at work there. Trying again later helps.
    #[error("an ephemeral run is at work there: {0}")]
    Busy(String),
    /// The host cannot keep what it is like. Nothing was changed.
    #[error("cannot write down what the host is like: {0}")]
    Refused(String),
    /// Something could not be put back.
    #[error("still there: {}", .0.join(", "))]
    Stays(Vec<String>),
}

impl Error {
    /// Returns what the user can do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Ssh(error) => return error.hint(),
            Self::Busy(_) => "wait for it, or end it; it takes back what it brought".into(),
            Self::Refused(_) => format!("{PLACE} must be writable there, and the disk not full"),
            Self::Stays(_) => "run `skyclaw fleet teardown` on this host".into(),
        })
    }
}

/// What a host says to being guarded.
#[derive(Debug)]
pub struct Armed<'c> {
    /// The guard; none if the agent is there already, so that nothing will be changed.
    pub guard: Option<Guard<'c>>,
    /// The mark of an earlier run whose changes were undone first.
    pub undone: Option<String>,
}

/// A guard at work. Dropping it without [`Guard::undo`] leaves it on the host, until the connection ends.
#[derive(Debug)]
pub struct Guard<'c> {
    exec: Exec<'c>,
    end: String,
}

/// What undoing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// There was no mark.
    Nothing,
    /// The changes of this run are undone; the lines say which, in the words of teardown.
    Run {
        /// Its mark.
        mark: String,
        /// `gone ~/…` and `cut ~/…`.
        lines: String,
    },
}

/// Writes down what the host is like and sets a guard over it.
///
/// # Errors
/// See [`Error`]; nothing has been changed then but what an earlier run had left.
pub async fn arm<'c>(
    connection: &'c Connection,
    mark: &Mark,
    host: &str,
) -> Result<Armed<'c>, Error> {
    let marker = Marker::fresh();
    let mut exec = connection.exec(&GUARD).await?;
    let stdin = header(&marker, [mark.code("arm", host)]);
    exec.stdin.write(stdin.into()).await?;
    let words = match tokio::time::timeout(LIMIT, first_words(&mut exec, &marker)).await {
        Ok(words) => words?,
        Err(_) => return Err(no_answer().into()),
    };
    let (word, rest) = words.split_once(' ').unwrap_or((&words, ""));
    let rest = one_line(rest);
    let undone = (!rest.is_empty()).then(|| rest.clone());
    let guard = match word {
        "armed" => Some(Guard {
            exec,
            end: format!("{} end\n", marker.reply()),
        }),
        "present" => None,
        "busy" => return Err(Error::Busy(rest)),
        "stays" => return Err(Error::Stays(vec![PLACE.to_owned()])),
        _ => return Err(Error::Refused(rest)),
    };
    Ok(Armed { guard, undone })
}

async fn first_words(exec: &mut Exec<'_>, marker: &Marker) -> Result<String, SshError> {
    let (mut stdout, mut stderr) = (Unframer::new(marker), Unframer::new(marker));
    loop {
        match exec.events.next().await? {
            Event::Stdout(bytes) => {
                if let Step::Opened { words, .. } = stdout.push(bytes) {
                    return Ok(words);
                }
            }
            Event::Stderr(bytes) => {
                let _ = stderr.push(bytes);
            }
            Event::Exit(_) => {}
            Event::Closed => {
                let said = format!("{} {}", stdout.noise(), stderr.noise());
                let said = said.trim();
                return Err(SshError::Lost {
                    why: format!("the login shell did not run our script; it said `{said}`"),
                });
            }
        }
    }
}

impl Guard<'_> {
    /// Has everything undone, and ends the guard.
    ///
    /// # Errors
    /// When something stays, or the guard is gone; then [`undo`] does it.
    pub async fn undo(mut self) -> Result<(), Error> {
        self.exec.stdin.write("UNDO\n".into()).await?;
        let said = match tokio::time::timeout(LIMIT, self.rest()).await {
            Ok(said) => said?,
            Err(_) => return Err(no_answer().into()),
        };
        let Some(lines) = said.strip_suffix(&self.end) else {
            let why = "the guard on the host is gone".to_owned();
            return Err(SshError::Lost { why }.into());
        };
        all_gone(lines)
    }

    async fn rest(&mut self) -> Result<String, SshError> {
        let mut said = Vec::new();
        loop {
            match self.exec.events.next().await? {
                Event::Stdout(bytes) if said.len() < MOST_KEPT => said.extend_from_slice(&bytes),
                Event::Stdout(_) | Event::Stderr(_) | Event::Exit(_) => {}
                Event::Closed => return Ok(String::from_utf8_lossy(&said).into_owned()),
            }
        }
    }
}

/// Whose changes may be undone.
#[derive(Debug, Clone, Copy)]
pub enum Whose<'m> {
    /// Those of this mark on the host of this name, guarded or not.
    Ours(&'m Mark, &'m str),
    /// Those of a run whose guard is gone.
    Abandoned,
    /// Also those of a run that is at work.
    Anybodys,
    /// Those of a run whose guard is gone; they are only looked at.
    Look,
}

/// Undoes what an ephemeral run has left on a host.
///
/// # Errors
/// [`Error::Busy`] when another run's guard is there, [`Error::Stays`] when something cannot be undone.
pub async fn undo(connection: &Connection, whose: Whose<'_>) -> Result<Undone, Error> {
    let code = match whose {
        Whose::Ours(mark, host) => mark.code("undo", host),
        Whose::Abandoned => Code::new().raw("a=undo"),
        Whose::Anybodys => Code::new().raw("a=undo; z=1"),
        Whose::Look => Code::new().raw("a=undo; d=1"),
    };
    let Answer { words, body, .. } = ask(connection, TEMPLATE, code, LIMIT).await?;
    let (word, rest) = words.split_once(' ').unwrap_or((&words, ""));
    match word {
        "none" => Ok(Undone::Nothing),
        "busy" => Err(Error::Busy(one_line(rest))),
        "undone" | "stays" => {
            all_gone(&body)?;
            let lines = body.lines().filter(|line| line.contains(" ~/"));
            Ok(Undone::Run {
                mark: one_line(rest),
                lines: lines.map(|line| format!("{line}\n")).collect(),
            })
        }
        _ => Err(Error::Refused(one_line(rest))),
    }
}

/// What a host says goes to logs and tables: short and without control characters.
fn one_line(said: &str) -> String {
    said.chars()
        .filter(|c| !c.is_control())
        .take(MOST_SHOWN)
        .collect()
}

fn all_gone(lines: &str) -> Result<(), Error> {
    let failed: Vec<String> = lines
        .lines()
        .filter_map(|line| line.strip_prefix("fail "))
        .map(str::to_owned)
        .collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Error::Stays(failed)),
    }
}

fn no_answer() -> SshError {
    let why = format!("no answer within {}", crate::support::span::human(LIMIT));
    SshError::Lost { why }
}
