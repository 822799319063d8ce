//! Three coordinators on a real network as one queue, while hosts run jobs all the time: members are killed, frozen,
//! cut off and filled up, and nothing that was acknowledged is lost or held twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic and speak"
)]

#[path = "../common/mod.rs"]
mod common;

mod cables;
mod clocks;
mod deaths;
mod disks;
mod follow;
mod judge;
mod load;
mod membership;
mod site;
