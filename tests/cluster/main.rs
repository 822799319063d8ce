//! Coordinators as a cluster: three real ones on loopback with real files, and clients that know only some of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy grants that only to #[test] functions"
)]

mod changes;
mod front;
mod harness;
mod reads;
#[path = "../coordinator/harness.rs"]
#[allow(dead_code, reason = "only what asks is used here")]
mod room;
mod streams;
