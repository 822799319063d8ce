//! A real API in Node behind gateways: replicas on several hosts that crash, move, are updated and scaled while callers
//! go on calling.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic and speak"
)]

#[path = "../common/mod.rs"]
mod common;

#[allow(dead_code, reason = "the gateway's own tests use all of it")]
#[path = "../gateway/raw.rs"]
mod raw;

mod among;
mod away;
mod hosts;
mod kills;
mod load;
mod rolling;
mod story;
