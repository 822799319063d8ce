//! Several coordinators as one queue: how they find, trust and ask each other.
//!
//! ```text
//!            asks                                        is asked
//!  links ──► pool ──► link ──► place, prove   door ──► marks ──► Cluster::receive
//!    │ carry: messages of the cluster           │ hello, prove: from strangers
//!    │ forward: a caller's request              │ all else: from whom `marks` knows
//! ```
//!
//! A connection between members begins with a proof by both sides that they know the cluster's secret (`secret`,
//! `proof`, `hello`), which is never sent. After it every request bears a seal, so that a proxy between the two that
//! keeps connections cannot put a stranger's request on one of them.
//!
//! Who belongs to the cluster:
//!
//! ```text
//!  join ──► founding (who founds)                   between ──► admit ──► newcomer (who is let in)
//!    │ looks for others, asks to be taken in           │ depart ──► removal (who may go) · invite · roster
//!  policy ──► promotion (who votes next), lookout    outcast: nobody leads; is this still a member?
//! ```
//!
//! Who answers a request:
//!
//! ```text
//!  seat: follows who leads ──► opens and ends the office here
//!  front ──► office: this member leads, or is alone      ──► onward ──► parcel: to the one that does
//!     │ local: from the own file, where that is asked for        │ arrived: from a member that was told so
//! ```
//!
//! What is said on a connection can be read by whoever can listen to it, as with the port itself; between machines
//! whose network is not trusted, members speak through a VPN or have `https` URLs.

pub mod address;
mod admit;
mod asks;
mod between;
mod carry;
mod depart;
mod door;
mod error;
mod forward;
mod founding;
pub(super) mod front;
mod hears;
mod hello;
mod hops;
mod invite;
mod join;
mod link;
mod links;
mod live;
pub(super) mod local;
mod lookout;
mod marks;
pub mod members;
mod membership;
mod newcomer;
mod nonces;
mod onward;
mod outcast;
mod outgoing;
mod parcel;
mod place;
mod policy;
mod pool;
mod promotion;
mod proof;
mod prove;
mod removal;
mod roster;
pub(super) mod seat;
mod secret;
mod trail;
mod whereabouts;

pub use reqwest::Url;

pub use self::between::routes;
pub use self::door::{PeerDoor, Receiver, is_for_peers};
pub use self::error::{ForwardError, LinkError};
pub use self::hello::{Hello, Identity, Introduction, Leader};
pub use self::links::Links;
pub use self::marks::{Effective, PeerMark, Proven};
pub use self::members::{Ending, Members, Settings};
pub use self::membership::Membership;
pub use self::promotion::{majority, voters_for};
pub use self::secret::Secrets;
pub use self::whereabouts::Whereabouts;

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::support::parts::Parts;

/// Starts what works for as long as the coordinator runs, apart from requests: looks for a cluster to join, looks after the
/// others while it leads, and notices when it is a member no longer.
pub(super) fn start(members: &Arc<Members>, parts: &Parts, tasks: &mut JoinSet<()>) {
    let with = || Arc::clone(members);
    tasks.spawn(parts.watched("what joins a cluster", join::run(with())));
    tasks.spawn(parts.watched("what looks after the members", policy::run(with())));
    tasks.spawn(parts.watched("what notices a removal", outcast::run(with())));
}
