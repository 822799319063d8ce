//! The right to run one attempt until a point in time.

use std::time::Duration;

use crate::protocol::{AttemptNo, HostId, LeaseToken};
use crate::support::clock::Timestamp;

/// That somebody asked for a leased job to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelAsk {
    /// When.
    pub asked_at: Timestamp,
    /// What was said about it.
    pub reason: Option<String>,
    /// How long the job may tidy up; nothing leaves that to its host.
    pub grace: Option<Duration>,
}

/// The lease of the running attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it.
    pub host: HostId,
    /// What the holder must show.
    pub token: LeaseToken,
    /// When it was given.
    pub since: Timestamp,
    /// How far each renewal reaches.
    pub lease_for: Duration,
    /// When it runs out. Fixed once a cancel was asked, so that a deaf holder cannot keep the job.
    pub expires_at: Timestamp,
    /// That it is to end.
    pub cancel: Option<CancelAsk>,
}

/// What a holder shows to act on its attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The pair that the claim gave.
    Token(AttemptNo, LeaseToken),
    /// Only who it is: holders of the older form know no tokens.
    Host(HostId),
}

impl Lease {
    /// Tells whether `proof` fits this lease of attempt `attempt`.
    ///
    /// Time does not matter here: a lease that ran out but was not yet taken away is still the
    /// newest, and its result is worth more than running the job again.
    pub fn accepts(&self, attempt: AttemptNo, proof: &Proof) -> bool {
        match proof {
            Proof::Token(no, token) => *no == attempt && *token == self.token,
            Proof::Host(host) => *host == self.host,
        }
    }
}
