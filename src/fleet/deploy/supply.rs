//! The program for a host: on this machine, or where the host itself gets it.

use crate::fleet::release::{Artifact, Digest, Remote};

/// A program with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supply {
    /// It is here and is sent.
    Here(Artifact),
    /// The host downloads it.
    There(Remote),
}

impl From<Artifact> for Supply {
    fn from(artifact: Artifact) -> Self {
        Self::Here(artifact)
    }
}

impl Supply {
    /// Returns where it comes from, for messages.
    pub fn source(&self) -> &str {
        match self {
            Self::Here(artifact) => &artifact.source,
            Self::There(remote) => &remote.source,
        }
    }

    /// Returns the program's digest, if it is known before a download.
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Here(artifact) => Some(artifact.sha256),
            Self::There(remote) => remote.program_digest(),
        }
    }

    /// Returns how much space it takes at least, if that is known.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Here(artifact) => Some(artifact.size),
            Self::There(remote) => remote.size,
        }
    }
}
