//! Why a tunnel is down.

use std::time::Duration;

use crate::ssh::{self, Kind};
use crate::support::chain::chain;
use crate::support::span;

/// Why a tunnel is down. It is tried again in every case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection, or what was asked of it, failed.
    #[error(transparent)]
    Ssh(#[from] ssh::Error),
    /// The place for tunnels on the host is not as it must be. Somebody has to look at it.
    #[error("the place for tunnels on the host cannot be used: {why}")]
    Place {
        /// What is wrong with what.
        why: String,
    },
    /// The host let us in and did not do what was asked in time.
    #[error("the tunnel was not made within {}", span::human(*.limit))]
    Slow {
        /// The time it had.
        limit: Duration,
    },
}

impl Error {
    /// Returns what the user can do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ssh(error) => error.hint(),
            Self::Place { .. } | Self::Slow { .. } => None,
        }
    }

    /// Returns the text with its causes, on one line.
    pub fn chain(&self) -> String {
        chain(self)
    }

    /// Tells whether host and controller do not know each other.
    pub fn is_strange(&self) -> bool {
        matches!(self, Self::Ssh(error) if matches!(error.kind(), Kind::Auth | Kind::HostKey))
    }
}
