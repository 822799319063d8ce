//! Keeps two deploys from changing one host at the same time.
//!
//! The lock is a directory on the host. A shell there holds it as long as its standard input is open, so it goes
//! with the connection, whatever ends that. Only a host that itself went down keeps one; the next deploy takes it over.

use std::sync::LazyLock;
use std::time::Duration;

use super::error::DeployError;
use crate::ssh::framing::{Step, Unframer};
use crate::ssh::shell::{Code, Marker, command_line, header};
use crate::ssh::{Connection, Error as SshError, Event, Exec};
use crate::support::clock::{Clock, SystemClock};

static HOLDER: LazyLock<String> =
    LazyLock::new(|| command_line(include_str!("../../../templates/lock.sh")));

/// Where it is on a host.
pub const PLACE: &str = "~/.local/state/skyclaw/lock";
const LIMIT: Duration = Duration::from_secs(30);
/// The most of an owner that is shown, in characters.
const MOST_SHOWN: usize = 200;

/// A host that is ours. Dropping it gives the host back as soon as the host notices.
#[derive(Debug)]
pub struct Lock<'c> {
    exec: Exec<'c>,
    /// Whose abandoned lock was taken over.
    pub taken_over: Option<String>,
}

impl<'c> Lock<'c> {
    /// Takes the host.
    ///
    /// # Errors
    /// [`DeployError::Locked`] when somebody else has it, [`DeployError::PutBack`]-like words when the host cannot
    /// keep a lock, else as [`Connection::exec`].
    pub async fn take(connection: &'c Connection) -> Result<Self, DeployError> {
        let marker = Marker::fresh();
        let mut exec = connection.exec(&HOLDER).await?;
        let code = Code::new().raw("w=").word(owner().as_bytes());
        exec.stdin.write(header(&marker, [code]).into()).await?;
        let words = match tokio::time::timeout(LIMIT, answer(&mut exec, &marker)).await {
            Ok(words) => words?,
            Err(_) => {
                let why = format!("no answer within {}", crate::support::span::human(LIMIT));
                return Err(SshError::Lost { why }.into());
            }
        };
        let (word, rest) = words.split_once(' ').unwrap_or((&words, ""));
        let rest: String = rest
            .chars()
            .filter(|c| !c.is_control())
            .take(MOST_SHOWN)
            .collect();
        match word {
            "locked" => Ok(Self {
                exec,
                taken_over: (!rest.is_empty()).then_some(rest),
            }),
            "busy" if rest.is_empty() => Err(DeployError::Locked("somebody".to_owned())),
            "busy" => Err(DeployError::Locked(rest)),
            _ => Err(DeployError::InTheWay {
                path: PLACE.to_owned(),
                why: "no lock can be made there; check its owner and mode, and the disk",
            }),
        }
    }

    /// Gives the host back and returns when it is free.
    pub async fn release(mut self) {
        // Should that fail, the connection is gone and the lock with it.
        if self.exec.stdin.eof().await.is_err() {
            return;
        }
        let closed =
            async { while !matches!(self.exec.events.next().await, Ok(Event::Closed) | Err(_)) {} };
        let _ = tokio::time::timeout(LIMIT, closed).await;
    }
}

async fn answer(exec: &mut Exec<'_>, marker: &Marker) -> Result<String, SshError> {
    let mut stdout = Unframer::new(marker);
    loop {
        match exec.events.next().await? {
            Event::Stdout(bytes) => {
                if let Step::Opened { words, .. } = stdout.push(bytes) {
                    return Ok(words);
                }
            }
            Event::Stderr(_) | Event::Exit(_) => {}
            Event::Closed => {
                let why = format!(
                    "the login shell did not run our script; it said `{}`",
                    stdout.noise()
                );
                return Err(SshError::Lost { why });
            }
        }
    }
}

/// Returns who we are, for those who find the host locked.
fn owner() -> String {
    let uname = rustix::system::uname();
    let machine = uname.nodename().to_string_lossy();
    let user = crate::fleet::link::local_user();
    let pid = std::process::id();
    format!(
        "{user}@{machine} (process {pid}) since {}",
        SystemClock.now()
    )
}
