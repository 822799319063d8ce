//! The name under which a request is sent, and sent again when its answer was lost.

use crate::support::ids;

/// Names a request: whoever claims under the same name again is given the same leases, as long as they are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestName(String);

impl RequestName {
    /// Returns one that nobody else has.
    pub fn fresh() -> Self {
        Self(ids::random_hex::<16>())
    }

    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
