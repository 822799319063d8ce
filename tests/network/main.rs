//! A controller and its hosts on a real network, where cables are cut and machines die.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

#[path = "../common/mod.rs"]
mod common;

mod cables;
mod deaths;
mod site;
mod together;
