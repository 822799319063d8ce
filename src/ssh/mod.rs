//! One SSH connection and what can be done with it. The only room that names russh.
//!
//! It knows nothing of fleets, jobs or agents: a [`Target`] goes in, a [`Connection`] comes out, and
//! commands run on it with their bytes unchanged. An OpenSSH-config resolver would produce
//! [`Target`]s, certificates and keyboard-interactive are further [`auth`] methods.

pub mod auth;
pub mod config;
pub mod connect;
mod connection;
mod dial;
mod error;
pub mod exec;
pub mod forward;
pub mod framing;
mod guard;
pub mod jump;
pub mod known_hosts;
mod limited;
mod pace;
pub(crate) mod parked;
pub(crate) mod pieces;
pub mod server;
pub mod shell;
mod socket;
pub mod throttle;
pub mod upload;

pub use config::{HostKeyPolicy, Settings, Target};
pub use connect::{Connection, dial};
pub use error::{Error, Kind, Phase};
pub use exec::{Event, Exec, Exit};
