//! What a request says of itself that may be sent more than once.

/// Names a request. Who sends it vouches that doing it twice is the same as doing it once, and repeats it under the same
/// name after its answer was lost. A claim with a name gives the leases again that it gave before, for as long as they
/// are held. Whoever does not know the header passes it over.
pub const REQUEST: &str = "x-skyclaw-request";

/// How long whoever asks has been waiting for the answer already, in milliseconds: so much less is waited for it.
pub const WAITED: &str = "x-skyclaw-waited";

/// How long a name is at most.
pub const LONGEST_NAME: usize = 128;
