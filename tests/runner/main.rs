//! Many commands over one channel: that they come out as in sessions of their own, and that nothing survives.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic and say why it skips"
)]

#[path = "../common/mod.rs"]
mod common;

mod bed;
mod ends;
mod hosts;
mod place;
mod same;
