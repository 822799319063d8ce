//! The coordinator over real HTTP on loopback: the original's exchanges, long polls, keys, limits, restarts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy grants that only to #[test] functions"
)]

#[path = "../common/mod.rs"]
mod common;

mod absent;
mod ahead;
mod alone;
mod auth;
mod deserted;
mod doors;
mod events;
mod gateways;
mod guest;
mod harness;
mod hooks;
mod hostile;
mod hosts;
mod idempotency;
mod jobs;
mod leases;
mod original;
mod parts;
mod polls;
mod public;
mod rank;
mod routes;
mod scope;
mod services;
mod tunnels;
mod verb;
mod wire;
