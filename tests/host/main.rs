//! `skyclaw host`: real processes, a real coordinator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

#[path = "../common/mod.rs"]
mod common;

mod agents;
mod ahead;
mod bed;
mod births;
mod death;
mod jobs;
mod lease;
mod original;
mod owner;
mod rules;
mod services;
mod stopping;
