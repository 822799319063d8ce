//! Where a running job stands, and why it is to end.

use std::time::{Duration, Instant};

use crate::client::holder::Stop;

/// What made a job end, if it did not end by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// It ran longer than this.
    Timeout(Duration),
    /// Somebody asked.
    Asked(Stop),
}

/// Where a job stands.
pub(super) enum Phase {
    Running,
    /// It was asked to end, and is killed then.
    Ending {
        kill_at: Instant,
    },
    /// Killed; the kernel has yet to end it.
    Killed,
    /// It has ended; its pipes may hold more.
    Draining {
        idle_at: Instant,
        last_at: Instant,
    },
}
