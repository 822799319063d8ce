//! Links between coordinators over real sockets: proofs, strangers of all kinds, messages, requests passed on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy grants that only to #[test] functions"
)]

#[path = "../common/mod.rs"]
mod common;

mod bed;
mod fakes;
mod forward;
mod hostile;
mod proofs;
mod relay;
mod streams;
mod tls;
mod wire;
