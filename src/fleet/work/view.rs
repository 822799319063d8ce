//! What can be seen of a worker from outside.

use std::time::Duration;

use serde::Serialize;

use crate::fleet::file::HostName;
use crate::fleet::report::Status;
use crate::protocol::JobId;
use crate::support::clock::Timestamp;

/// How a host stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(
    tag = "state",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum State {
    /// It is being connected to.
    Connecting,
    /// Jobs are pushed to it over SSH.
    Push,
    /// A daemon there pulls its jobs; they are not pushed.
    Pull,
    /// It cannot be reached.
    Down {
        /// Why.
        error: String,
        /// When it is tried again.
        retry_at: Timestamp,
    },
    /// It takes no more jobs and finishes what it has.
    Draining,
    /// Nobody works for it any more.
    Gone,
}

impl State {
    /// Returns the word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Push => "push",
            Self::Pull => "pull",
            Self::Down { .. } => "down",
            Self::Draining => "draining",
            Self::Gone => "gone",
        }
    }
}

/// A host as its worker sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Its name.
    pub name: HostName,
    /// How it stands.
    #[serde(flatten)]
    pub state: State,
    /// How many jobs run there.
    pub running: usize,
    /// How many may at once.
    pub slots: u16,
    /// How many ended well,
    pub ok: u64,
    /// and how many badly.
    pub failed: u64,
}

/// Something that happened at a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(
    tag = "event",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Happened {
    /// It stands differently now.
    Host {
        /// Which.
        host: HostName,
        /// How.
        #[serde(flatten)]
        state: State,
    },
    /// A job begins.
    Started {
        /// Where.
        host: HostName,
        /// Which.
        job: JobId,
        /// Its kind.
        kind: String,
    },
    /// A job is over.
    Ended {
        /// Where.
        host: HostName,
        /// Which.
        job: JobId,
        /// How it came out.
        status: Status,
        /// How long it took, in milliseconds.
        duration_ms: u64,
        /// What went wrong.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The coordinator cannot be asked, or can be again.
    Coordinator {
        /// For which host.
        host: HostName,
        /// What is wrong; nothing if it works again.
        error: Option<String>,
    },
}

/// Takes what happens. Called from any thread; must not block.
pub type Hook = Box<dyn Fn(Happened) + Send + Sync>;

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
