//! skyclaw lets one machine run work on many: pushed to them over SSH, or pulled by them from a queue.
//!
//! `ARCHITECTURE.md` shows the rooms below, which of them may use which, and the road of one job.

pub mod cli;
pub mod client;
pub mod coordinator;
pub mod fleet;
pub mod gateway;
pub mod host;
pub mod protocol;
pub mod queue;
pub mod ssh;
pub mod support;
