//! The host daemon: takes jobs from a coordinator and runs them on this machine.
//!
//! Prints nothing: what people should see goes to whoever started it, as [`notice::Notice`]s.

pub mod accept;
mod ahead;
pub mod allow;
mod begin;
mod capabilities;
mod claim;
pub mod control;
mod core;
mod daemon;
mod environment;
mod error;
mod facts;
mod heartbeat;
mod holding;
mod kinds;
pub mod notice;
mod openclaw;
mod pace;
mod register;
mod results;
mod runner;
pub mod services;
pub mod settings;
pub mod spare;
mod state;
pub mod watch;

pub use daemon::run;
pub use error::Error;
