//! Several members of a cluster in one process: what the queue promises when members come, go and fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod faults;
mod harness;
mod membership;
mod speed;
mod writes;
