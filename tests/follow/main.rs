//! Runs that a coordinator carries out while their command only follows, and runs that are gone on with.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

#[path = "../common/mod.rs"]
mod common;

mod away;
mod bed;
mod resume;
mod same;
mod stop;
mod up;
