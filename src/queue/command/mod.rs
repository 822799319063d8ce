//! Every change that can be asked of the queue, as values. They carry their ids, their time and their chance.

mod host;
mod lease;
mod log;
mod original;
mod outcome;
mod since;
mod submit;
mod time;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use host::{HeldLease, HostEntry, NewHost};
pub use lease::{ClaimMark, ClaimRequest, Claimant, LeaseProof, LeaseRef, Report, Verdict};
pub use log::{LOG_HEAD, LOG_LIMIT, NewPiece, Piece};
pub use original::{Original, OriginalHost, OriginalJob, OriginalStatus, TakenOver};
pub use outcome::{
    Cancelled, Claimed, Completion, Expired, Outcome, Pruned, Refusal, Renewed, Retried,
    ServiceChanged, ServiceReported, Submitted,
};
pub use submit::{IntoGroup, MOST_TRIES, NewGroup, NewJob, Submit};

use crate::protocol::api::{
    AssignmentReport, ChangeService, DeployService, HostMode, ReportService,
};
use crate::protocol::{GroupId, HostId, JobId, LeaseToken};
use crate::queue::domain::service::ServiceHost;
use crate::support::clock::Timestamp;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// New jobs.
    Submit {
        /// When.
        now: Timestamp,
        /// What.
        submit: Submit,
    },
    /// Hosts ask for work.
    Claim {
        /// When.
        now: Timestamp,
        /// Who asks for what.
        request: ClaimRequest,
        /// One for each lease that may be given.
        tokens: Vec<LeaseToken>,
    },
    /// Hosts ask for work, and whoever asks again gets what it was given before.
    ClaimOnce {
        /// When.
        now: Timestamp,
        /// Who asks for what.
        request: ClaimRequest,
        /// One for each lease that may be given.
        tokens: Vec<LeaseToken>,
        /// By what each of those who ask finds its leases again.
        marks: Vec<Option<ClaimMark>>,
    },
    /// Holders go on.
    Renew {
        /// When.
        now: Timestamp,
        /// Which leases.
        leases: Vec<LeaseRef>,
    },
    /// A holder is done.
    Complete {
        /// When.
        now: Timestamp,
        /// Which lease.
        lease: LeaseRef,
        /// How it went.
        report: Report,
        /// For the backoff, in `0..domain::backoff::WHOLE`.
        jitter: u32,
    },
    /// Holders are done with many at once; each stands alone.
    CompleteMany {
        /// When.
        now: Timestamp,
        /// Which leases, how each went, and its chance as in [`Command::Complete`].
        reports: Vec<(LeaseRef, Report, u32)>,
    },
    /// Holders give jobs back unharmed.
    Release {
        /// When.
        now: Timestamp,
        /// Which leases.
        leases: Vec<LeaseRef>,
        /// How long nobody should take them.
        delay: Duration,
    },
    /// A person takes jobs back.
    Cancel {
        /// When.
        now: Timestamp,
        /// Which jobs.
        target: Cancel,
        /// What the person said about it.
        reason: Option<String>,
        /// How long running jobs may tidy up; nothing leaves that to their hosts.
        #[serde(default)]
        grace: Option<Duration>,
        /// How many jobs at most in this step.
        limit: u32,
    },
    /// Time passed: leases ran out, waits ended, starts were missed.
    ExpireDue {
        /// When.
        now: Timestamp,
        /// How many jobs at most in this step.
        limit: u32,
    },
    /// Nobody but the host that lost the job could run it, so that host may have it again at once.
    Readmit {
        /// When.
        now: Timestamp,
        /// Which job.
        job: JobId,
    },
    /// Every lease gets at least one whole lease time from now, because nobody could renew meanwhile.
    Reprieve {
        /// When.
        now: Timestamp,
    },
    /// A host introduces itself, for the first time or again.
    RegisterHost {
        /// When.
        now: Timestamp,
        /// Who.
        host: NewHost,
        /// The leases it still works on; its others are lost. Nothing leaves them all as they are.
        held: Option<Vec<LeaseRef>>,
        /// An id that is known under another name stays with that name; nothing is changed then.
        #[serde(default)]
        names_stay: bool,
    },
    /// A person decides whether a host is given work.
    SetHostMode {
        /// When.
        now: Timestamp,
        /// Which.
        host: HostId,
        /// How it is to be.
        mode: HostMode,
    },
    /// A host leaves: its leases are lost and nobody remembers it.
    ForgetHost {
        /// When.
        now: Timestamp,
        /// Which.
        host: HostId,
    },
    /// Leases that a host never received go back unharmed.
    GiveBack {
        /// When.
        now: Timestamp,
        /// Which host.
        host: HostId,
        /// What it does hold.
        held: Vec<LeaseRef>,
        /// Leases given later may still be on their way to it.
        given_before: Timestamp,
    },
    /// Whether anything is given out at all.
    SetPaused {
        /// When.
        now: Timestamp,
        /// Nothing is.
        paused: bool,
    },
    /// Output of running jobs.
    AppendLog {
        /// When.
        now: Timestamp,
        /// The pieces, in order.
        pieces: Vec<NewPiece>,
    },
    /// Ended jobs are asked for again, as new jobs.
    Retry {
        /// When.
        now: Timestamp,
        /// The ended job, and the id of the new one.
        jobs: Vec<(JobId, JobId)>,
    },
    /// A service is asked for, or asked for anew.
    DeployService {
        /// When.
        now: Timestamp,
        /// Its id.
        id: String,
        /// What is asked for.
        ask: DeployService,
        /// Who answers for the change.
        node: String,
    },
    /// A person asks something of a service that is there.
    ChangeService {
        /// When.
        now: Timestamp,
        /// Which.
        id: String,
        /// What is asked.
        change: ChangeService,
        /// Who answers for the change.
        node: String,
    },
    /// A host tells of all its assignments.
    SyncServices {
        /// When.
        now: Timestamp,
        /// Which.
        host: HostId,
        /// All it has.
        reports: Vec<AssignmentReport>,
        /// Who answers for the change.
        node: String,
    },
    /// What runs where is looked over.
    PlaceServices {
        /// When.
        now: Timestamp,
        /// Every host; one that is missing is dead.
        hosts: Vec<ServiceHost>,
        /// The chance in the ids of new assignments.
        seed: [u8; 16],
        /// Who answers for the change.
        node: String,
    },
    /// A host asks for a service to run.
    ClaimService {
        /// When.
        now: Timestamp,
        /// Who asks.
        host: HostId,
        /// What it can do.
        capabilities: Vec<String>,
        /// Who answers for the change.
        node: String,
    },
    /// A host tells how its part of a service is.
    ReportService {
        /// When.
        now: Timestamp,
        /// Which service.
        id: String,
        /// How it is.
        report: ReportService,
        /// Who answers for the change.
        node: String,
    },
    /// A state of the original is taken over, in steps. Only an empty queue begins with it.
    TakeOver {
        /// When.
        now: Timestamp,
        /// The first step: there must be nothing yet.
        first: bool,
        /// The chance in the proofs of its old leases, which nobody can show.
        seed: [u8; 16],
        /// What.
        original: Original,
    },
    /// What is old goes.
    Prune {
        /// When.
        now: Timestamp,
        /// What counts as old.
        rule: Prune,
    },
}

/// A command, and the key that makes repeating it harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// What to do.
    pub command: Command,
    /// Remembered in the same transaction as the change.
    pub idempotency: Option<Idempotency>,
}

impl From<Command> for Envelope {
    fn from(command: Command) -> Self {
        Self {
            command,
            idempotency: None,
        }
    }
}

/// The name under which the answer to a command is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// Scope and key in one text.
    pub key: String,
    /// Hash of what was asked; the same key with another hash is a conflict.
    pub body_hash: [u8; 32],
    /// When it may be forgotten.
    pub expires_at: Timestamp,
}

/// Which jobs to take back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cancel {
    /// These.
    Jobs(Vec<JobId>),
    /// All of a group that have not ended.
    Group(GroupId),
}

/// What is old enough to go. Jobs that have not ended always stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prune {
    /// Jobs that ended earlier go.
    pub ended_before: Timestamp,
    /// Of the ended jobs only this many of the newest stay.
    pub keep_ended: u64,
    /// Of the groups only this many of the newest stay, and their jobs with them, however old.
    /// Nothing means that the jobs of groups go by age as others do, and empty groups after them.
    pub keep_groups: Option<u64>,
    /// How many jobs at most in this step.
    pub limit: u32,
}
