//! Keeps two deploys from changing one host at the same time.
//!
//! The lock is a directory on the host. A shell there holds it as long as its standard input is open, so it goes
//! with the connection, whatever ends that. Only a host that itself went down keeps one; the next deploy takes it over.

use std::time::Duration;

use super::desk::Desk;
use super::error::DeployError;
use crate::ssh::Connection;
use crate::ssh::shell::Code;
use crate::support::clock::{Clock, SystemClock, Timestamp};

/// Where it is on a host.
pub const PLACE: &str = "~/.local/state/skyclaw/lock";
const LIMIT: Duration = Duration::from_secs(30);
/// The most of an owner that is shown, in characters.
const MOST_SHOWN: usize = 200;

/// A host that is ours. Dropping it gives the host back as soon as the host notices.
#[derive(Debug)]
pub struct Lock<'c> {
    desk: Desk<'c>,
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
        let mut desk = Desk::new(connection);
        let taken_over = lock(&mut desk).await?;
        Ok(Self { desk, taken_over })
    }

    /// Gives the host back and returns when it is free.
    pub async fn release(mut self) {
        self.desk.close().await;
    }
}

/// Takes the host for as long as the desk's shell runs. Returns whose abandoned lock was taken over.
///
/// # Errors
/// As [`Lock::take`].
pub(super) async fn lock(desk: &mut Desk<'_>) -> Result<Option<String>, DeployError> {
    let now = SystemClock.now();
    let seconds = u64::try_from(now.as_millis() / 1000).unwrap_or_default();
    let code = Code::new().raw("w=").word(owner(now).as_bytes());
    let code = code.raw(";n=").number(seconds).raw(";lock");
    let words = desk.ask(code, LIMIT).await?.words;
    let (word, rest) = words.split_once(' ').unwrap_or((&words, ""));
    let rest: String = rest
        .chars()
        .filter(|c| !c.is_control())
        .take(MOST_SHOWN)
        .collect();
    match word {
        "locked" => Ok((!rest.is_empty()).then_some(rest)),
        "busy" if rest.is_empty() => Err(DeployError::Locked("somebody".to_owned())),
        "busy" => Err(DeployError::Locked(rest)),
        _ => Err(DeployError::InTheWay {
            path: PLACE.to_owned(),
            why: "no lock can be made there; check its owner and mode, and the disk",
        }),
    }
}

/// Returns who we are, for those who find the host locked.
fn owner(now: Timestamp) -> String {
    let uname = rustix::system::uname();
    let machine = uname.nodename().to_string_lossy();
    let user = crate::fleet::link::local_user();
    let pid = std::process::id();
    format!("{user}@{machine} (process {pid}) since {now}")
}
