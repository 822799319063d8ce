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
mod faults;
mod federation;
mod floods;
mod help;
mod hostile;
mod keys;
mod multiplexed;
mod raw;
mod routes;
mod site;
mod smuggling;
mod stopping;
mod streams;
mod tls;
mod two;
mod two_backend;
mod upgrades;
mod watching;
