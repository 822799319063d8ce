//! Why a tunnel is down.

use crate::ssh;

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
}

impl Error {
    /// Returns what the user can do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ssh(error) => error.hint(),
            Self::Place { .. } => None,
        }
    }
}
