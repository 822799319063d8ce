//! `--socket`: the coordinator's door for its owner.

use std::path::Path;

use super::super::error::Failure;
use super::super::exit::Exit;
use crate::client::unix_url;
use crate::coordinator::{OwnersSocket, SocketError};

/// Opens the socket.
///
/// # Errors
/// When somebody else serves it, something else is there, or the system refuses.
pub fn open(path: &Path) -> Result<OwnersSocket, Failure> {
    // Others are told of it, from wherever they are.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    OwnersSocket::open(&absolute).map_err(|error| {
        let hint = match &error {
            SocketError::InUse { .. } => {
                "stop that one first, or give this one a socket of its own"
            }
            SocketError::Other { .. } => "name a file that is not there yet, or remove that one",
            SocketError::Place(_) | SocketError::Io { .. } => {
                "name a place where you may make files; a socket's path has at most 107 bytes"
            }
        };
        Failure::new(Exit::Failed, "cannot serve the socket")
            .because(error)
            .hint(hint)
    })
}

/// Returns the address at which clients find it.
pub fn shown(path: &Path) -> String {
    unix_url(path).map_or_else(|| path.display().to_string(), String::from)
}
