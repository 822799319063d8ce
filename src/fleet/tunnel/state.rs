//! How a tunnel stands, for those who watch it.

use std::sync::Arc;

use crate::ssh::forward::Place;
use crate::support::clock::Timestamp;

use super::error::Error;

/// How a tunnel stands.
#[derive(Debug, Clone)]
pub enum State {
    /// It is being made.
    Connecting,
    /// The host's daemon can reach the controller.
    Up {
        /// Since when.
        since: Timestamp,
        /// Where on the host.
        at: Place,
    },
    /// It is tried again by and by.
    Down {
        /// Why.
        error: Arc<Error>,
        /// When the next try is.
        retry_at: Timestamp,
    },
    /// It is not tried any more.
    Gone,
}
