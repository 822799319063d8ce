//! Services from the command line: deployed, looked at, waited for, changed, read. Against a real coordinator, with
//! hosts that do as the test says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic and speak"
)]

#[path = "../common/mod.rs"]
mod common;

mod deploy;
mod help;
mod logs;
mod look;
mod place;
mod real;
mod script;
mod secrets;
mod wait;
