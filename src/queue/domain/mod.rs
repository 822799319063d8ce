//! The life of one job as plain values and functions. No clock, no chance, no store.
//!
//! ```text
//!                 Claim                       Complete(succeeded)
//!  ┌────────┐ ───────────────► ┌────────┐ ──────────────────────────► Ended(completed)
//!  │ Queued │                  │ Leased │ ── Complete(failed), no try left ─┐
//!  └────────┘ ◄─────────────── └────────┘ ── Due, no try left, cancel asked ┤
//!    │   ▲     Release                                                      ├► Ended(failed)
//!    │   │     Due (lease ran out), tries left                              │
//!    │   └──── Complete(failed), retries left: not before the backoff       │
//!    └──────── Cancel, or Due (start_by passed) ────────────────────────────┘
//! ```
//!
//! Not stored, but real: "claimed, reply lost" is `Leased` that nobody renews and ends by `Due`;
//! "completed, reply lost" is `Ended` whose holder reports again and gets the same answer. A report that
//! comes after `Due` took the lease and before another `Claim` (`CompleteLate`) counts as if in time.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod backoff;
pub mod job;
mod late;
pub mod lease;
pub mod service;
pub mod transition;

pub use job::{Avoid, Ending, Job, Limits, State};
pub use lease::{CancelAsk, Lease};
pub use transition::{Effect, Event, Rejected, Step, apply};
