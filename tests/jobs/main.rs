//! Jobs from the command line: asked for, followed, waited for, taken back. Against a real coordinator
//! and a real host daemon.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic and speak"
)]

#[path = "../common/mod.rs"]
mod common;

mod enqueue;
mod file;
mod help;
mod look;
mod place;
mod reach;
mod socket;
mod wait;
