//! The gateway as a process, between real sockets: a coordinator, backends, callers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy grants that only to #[test] functions"
)]

#[path = "../common/mod.rs"]
mod common;

mod backend;
mod balance;
mod calls;
mod federation;
mod help;
mod keys;
mod routes;
mod site;
mod stopping;
mod watching;
