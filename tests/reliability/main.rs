//! Killed, stopped, starved and fed rubbish: nothing acknowledged is lost, nothing ends twice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic and speak"
)]

#[path = "../common/mod.rs"]
mod common;

mod disk;
mod herd;
mod kills;
mod power;
