//! Several coordinators as one queue: how they reach each other (`link`), who belongs to them (`membership`), and which
//! of them answers a request (`front`).

pub(super) mod front;
mod link;
mod membership;

use std::fmt;
use std::sync::Arc;

pub use reqwest::Url;

pub use self::link::{
    Effective, ForwardError, Hello, Identity, Introduction, Leader, LinkError, Links, PeerDoor,
    PeerMark, Proven, Receiver, Secrets, is_for_peers,
};
pub(super) use self::membership::start;
pub use self::membership::{
    Ending, Members, Settings, Whereabouts, address, majority, members, routes, voters_for,
};
use crate::queue::cluster::Cluster;

/// What makes a coordinator a member of a cluster, now or once others join it. Clones are the same.
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
