//! What ends a host daemon before anybody asked it to stop.

use std::io;
use std::path::PathBuf;

use crate::client;
use crate::protocol::HostId;
use crate::support::paths;

/// Why the daemon cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another daemon uses the state directory. Trying again helps once that one has ended.
    #[error("another skyclaw host runs with {}", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// Another live machine uses the id. Trying again helps once that one has ended.
    #[error("another live host uses the id {id}")]
    IdInUse {
        /// The id.
        id: HostId,
        /// What the coordinator said.
        #[source]
        source: client::Error,
    },
    /// No coordinator answered, and the daemon was to run only once. Trying again later helps.
    #[error("nothing could be claimed")]
    Once(#[source] client::Error),
    /// A file or directory of the daemon cannot be used.
    #[error(transparent)]
    State(#[from] paths::Error),
    /// The system refused something the daemon cannot do without.
    #[error("{act}")]
    System {
        /// What was tried.
        act: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Says what was tried when the system refused.
pub(super) fn system(act: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { act, source }
}
