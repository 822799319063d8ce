//! How members reach each other: connections on which both sides have proved that they know the cluster's secret.
//!
//! ```text
//!            asks                                              is asked
//!  links ──► pool ──► connection ──► place, prove   door ──► marks ──► Cluster::receive
//!    │ carry: messages of the cluster                │ hello, prove: from strangers
//!    │ forward: a caller's request                   │ all else: from whom `marks` knows
//! ```
//!
//! The secret (`secret`, `proof`, `hello`) is never sent. After the proof every request bears a seal, so that a proxy
//! between the two that keeps connections cannot put a stranger's request on one of them.
//!
//! What is said on a connection can be read by whoever can listen to it, as with the port itself; between machines
//! whose network is not trusted, members speak through a VPN or have `https` URLs.

mod carry;
mod connection;
mod door;
mod error;
mod forward;
mod hears;
mod hello;
mod hops;
mod links;
mod live;
mod marks;
mod moved;
mod nonces;
mod outgoing;
mod place;
mod pool;
mod proof;
mod prove;
mod secret;
mod sought;

pub use self::door::{PeerDoor, Receiver, is_for_peers};
pub use self::error::{ForwardError, LinkError};
pub use self::hello::{Hello, Identity, Introduction, Leader};
pub use self::links::Links;
pub use self::marks::{Effective, PeerMark, Proven};
pub use self::secret::Secrets;
