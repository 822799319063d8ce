//! The set of hosts: where it is written down, which of them are meant, and what is done with them.
//!
//! Knows no command line and prints nothing: verbs in `cli` call it and show what it returns.

pub mod agent;
pub mod ask;
pub mod asked;
pub mod attend;
pub mod capture;
pub mod choose;
pub mod controller;
pub mod deploy;
pub mod dispatch;
pub mod ephemeral;
pub mod file;
pub mod follow;
pub mod ledger;
pub mod link;
pub mod payload;
mod push;
pub mod recall;
pub mod release;
pub mod remote;
pub mod report;
pub mod rollback;
pub mod run;
mod runner;
pub mod runs;
pub mod sandbox;
pub mod seat;
pub mod select;
pub mod service;
pub mod status;
pub mod supervise;
pub mod target;
pub mod teardown;
pub mod tunnel;
pub mod work;
