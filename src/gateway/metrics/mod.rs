//! The gateway's numbers, and their form for Prometheus.
//!
//! Labels come from fixed sets only: services, endpoints, classes of status. Nothing a caller sends becomes one, or
//! any caller could fill the memory of whoever collects them.

mod counts;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};

pub use counts::{Counts, Sums};
pub use text::{CONTENT_TYPE, text};

use super::moment::Moment;

/// What is counted for the gateway as a whole.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests that belong to no service that is known, own routes and refused ones among them.
    pub others: Counts,
    /// Connections of callers that are open.
    pub connections: AtomicU64,
    /// Lines of the access log that were dropped because they could not be written fast enough.
    pub unlogged: AtomicU64,
    /// When a coordinator last told which services there are; 0 if never.
    listed_at: AtomicU64,
}

impl Metrics {
    /// Takes note that a coordinator told which services there are.
    pub fn listed(&self, now: Moment) {
        self.listed_at.store(now.millis(), Ordering::Relaxed);
    }

    /// Returns when that was.
    pub fn listed_at(&self) -> Option<Moment> {
        match self.listed_at.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Moment::from_millis(millis)),
        }
    }
}
