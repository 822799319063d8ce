//! The harness of the integration tests: a real OpenSSH server, the real binary, a home of its own for both.
//!
//! Nothing here knows what skyclaw should do; tests say that. Everything that is started is ended on drop,
//! and what it logged is shown when the test fails.
#![allow(
    dead_code,
    unused_imports,
    reason = "every test binary compiles this module and uses only part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, as tests do; clippy grants that only to #[test] functions"
)]

pub mod agent;
pub mod bed;
pub mod coordinator;
pub mod faults;
pub mod http;
pub mod link;
pub mod net;
pub mod power;
pub mod procs;
pub mod require;
pub mod run;
pub mod scripted;
pub mod sshd;
pub mod verbs;
pub mod wait;
pub mod world;

pub use agent::{Agent, keygen_with, set_passphrase};
pub use bed::{Bed, SOON, STUBBORN};
pub use faults::{
    BlackholeHost, CloseAfterBanner, Door, Doorkeeper, MuteHost, RefusingPort, WrongBanner,
};
pub use net::{Net, NetHost, require_network};
pub use procs::{Proc, Sampler, assert_no_process, processes_with, ps_snapshot, scan_files};
pub use require::{is_root, require_mounts, require_packaged, require_program, require_sshd};
pub use run::{Output, Running};
pub use sshd::{Shell, Sshd, SshdBuilder};
pub use verbs::{Verbs, bare};
pub use wait::{eventually, holds_within};
pub use world::{FleetHost, World};
