//! What makes a coordinator a member of a cluster, now or once others join it.

use std::fmt;
use std::sync::Arc;

use super::{Links, Members, PeerDoor};
use crate::queue::cluster::Cluster;

/// What makes a coordinator a member of a cluster. Clones are the same.
#[derive(Clone)]
pub struct Membership {
    /// Its part in the agreement.
    pub cluster: Cluster,
    /// How it reaches the others.
    pub links: Links,
    /// Where the others come in.
    pub door: Arc<PeerDoor>,
    /// Who belongs to it. Without, it stays with whomever it is with.
    pub members: Option<Arc<Members>>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").finish_non_exhaustive()
    }
}
