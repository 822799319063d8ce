//! The only truth about jobs: submit, claim, renew, complete, cancel, and what is remembered of them.
//!
//! A library, not a server. It knows no HTTP, no SSH and no command line. Every change is a
//! [`command::Command`] that carries its ids, its time and its chance, so that applying it to
//! the same state gives the same result anywhere. Delivery is at least once: a job whose holder
//! vanished runs again.

pub mod command;
pub mod domain;
pub mod engine;
mod error;
pub mod store;
pub mod sweeper;

pub use command::{
    Cancel, Cancelled, ClaimMark, ClaimRequest, Claimant, Claimed, Completion, Expired, HeldLease,
    HostEntry, Idempotency, IntoGroup, LOG_LIMIT, LeaseProof, LeaseRef, NewGroup, NewHost, NewJob,
    NewPiece, Original, OriginalHost, OriginalJob, OriginalStatus, Piece, Prune, Pruned, Renewed,
    Report, Retried, ServiceChanged, ServiceReported, Submit, Submitted, TakenOver, Verdict,
};
pub use domain::service::ServiceHost;
pub use engine::raft as cluster;
pub use engine::{Change, Options, Queue, Timing};
pub use error::Error;
pub use store::{
    Applied, CopyError, Cursor, JobFilter, JobView, Page, back_up, restore, would_prune,
};
