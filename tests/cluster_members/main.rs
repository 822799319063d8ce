//! Coordinators that join each other, leave and are removed: real processes on addresses of the loopback network.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod disks;
mod floor;
mod force;
mod founding;
mod joining;
mod leaving;
mod looking;
mod lossy;
mod moving;
mod original;
mod refused;
mod site;
mod stopping;
mod twin;
mod wiped;
