//! `skyclaw fleet up`: real processes, real SSH servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

#[path = "../common/mod.rs"]
mod common;

mod bounds;
mod changes;
mod controller;
mod disk;
mod hostile;
mod list;
mod place;
mod pull;
mod push;
mod same;
mod slots;
mod stopping;
mod verbs;
