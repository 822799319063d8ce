//! Asking for work, holding it, and reporting what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::protocol::{AttemptNo, GroupId, HostId, JobId, JobResult, LeaseToken, Reason};
use crate::queue::domain::lease::Proof;

/// A host that asks for work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimant {
    /// Who gets the leases.
    pub host: HostId,
    /// Other names it goes by in requirements.
    pub names: Vec<HostId>,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// What it is labelled with.
    pub labels: BTreeMap<String, String>,
    /// How many jobs it takes at most.
    pub max: u16,
    /// How many leases it may hold in all, counting those it has.
    pub limit: Option<u16>,
}

impl Claimant {
    /// Returns `host` asking for one job, with no capabilities and no labels.
    pub const fn new(host: HostId) -> Self {
        Self {
            host,
            names: Vec::new(),
            capabilities: Vec::new(),
            labels: BTreeMap::new(),
            max: 1,
            limit: None,
        }
    }
}

/// What the tokens of all leases begin with that one request for work was given, so that the same request, asked again,
/// finds them for as long as they are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClaimMark([u8; 8]);

impl ClaimMark {
    /// Returns the mark of the request that `host` calls `request`.
    pub fn of(host: &HostId, request: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(host.as_str())
            .chain_update("\n")
            .chain_update(request)
            .finalize();
        let mut mark = [0; 8];
        for (byte, of) in mark.iter_mut().zip(digest) {
            *byte = of;
        }
        Self(mark)
    }

    /// Returns what the tokens begin with.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// Hosts that ask for work, served in this order in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRequest {
    /// Who asks.
    pub claimants: Vec<Claimant>,
    /// Only jobs of this group.
    pub group: Option<GroupId>,
    /// How long a lease lasts without renewal.
    pub lease_for: Duration,
}

/// Which attempt a holder speaks of, and its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRef {
    /// The job.
    pub job: JobId,
    /// That the sender holds it.
    pub proof: LeaseProof,
}

impl LeaseRef {
    /// Returns the reference with the pair that a claim gave.
    pub const fn new(job: JobId, attempt: AttemptNo, token: LeaseToken) -> Self {
        Self {
            job,
            proof: LeaseProof::Token { attempt, token },
        }
    }
}

/// What a holder shows to act on its attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseProof {
    /// The pair that the claim gave.
    Token {
        /// Which try.
        attempt: AttemptNo,
        /// Its token.
        token: LeaseToken,
    },
    /// Only who it is, for holders of the older form.
    Host(HostId),
}

impl From<LeaseProof> for Proof {
    fn from(proof: LeaseProof) -> Self {
        match proof {
            LeaseProof::Token { attempt, token } => Self::Token(attempt, token),
            LeaseProof::Host(host) => Self::Host(host),
        }
    }
}

/// How an attempt went, in the holder's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Good or bad. The queue believes this, not the exit code.
    pub verdict: Verdict,
    /// What came of it.
    pub result: JobResult,
}

/// Whether an attempt went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It did.
    Succeeded,
    /// It did not. [`Reason::Exit`] is retried as a failure, [`Reason::Lost`] as a lost lease, others never.
    Failed(Reason),
}
