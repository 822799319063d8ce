//! Who belongs to the cluster.
//!
//! ```text
//!  join ──► founding (who founds)                   between ──► admit ──► newcomer (who is let in)
//!    │ looks for others, asks to be taken in           │ depart ──► removal (who may go) · invite · roster
//!  handover: another leads before this one goes      seek: all have moved, and find each other
//!  policy ──► promotion (who votes next), lookout    outcast: nobody leads; is this still a member?
//!  twin: does another process run on a copy of this member's data?
//! ```

pub mod address;
mod admit;
mod asks;
mod between;
mod depart;
mod founding;
mod handover;
mod invite;
mod join;
mod lookout;
pub mod members;
mod newcomer;
mod outcast;
mod policy;
mod promotion;
mod removal;
mod roster;
mod seek;
mod trail;
mod twin;
mod whereabouts;

pub use self::between::routes;
pub use self::members::{Ending, Members, Settings};
pub use self::promotion::{majority, voters_for};
pub use self::whereabouts::Whereabouts;

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::support::parts::Parts;

/// Starts what works for as long as the coordinator runs, apart from requests: looks for a cluster to join, looks after the
/// others while it leads, and notices when it is a member no longer.
pub(in crate::coordinator) fn start(
    members: &Arc<Members>,
    parts: &Parts,
    tasks: &mut JoinSet<()>,
) {
    let with = || Arc::clone(members);
    tasks.spawn(parts.watched("what joins a cluster", join::run(with())));
    tasks.spawn(parts.watched("what looks after the members", policy::run(with())));
    tasks.spawn(parts.watched("what notices a removal", outcast::run(with())));
    tasks.spawn(parts.watched("what looks for members that have moved", seek::run(with())));
    tasks.spawn(parts.watched("what looks for a copy of this member", twin::run(with())));
}
