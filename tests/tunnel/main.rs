//! A host's tunnel: made, kept up through whatever happens to it, and taken down without a trace; and a
//! host daemon that works through it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail by panicking, as tests do"
)]

#[path = "../common/mod.rs"]
mod common;
mod daemon;
mod halves;
mod idle;
mod rig;
mod services;
mod site;
mod upkeep;
