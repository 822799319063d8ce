//! Every change that can be asked of the queue, as values. They carry their ids, their time and their chance.

mod host;
mod log;

pub use host::{HeldLease, HostEntry, NewHost};
pub use log::{LOG_HEAD, LOG_LIMIT, NewPiece, Piece};

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::domain::lease::Proof;
use crate::protocol::api::{DeployService, HostMode, ReportService, ServiceRecord};
use crate::protocol::{
    AttemptNo, GroupId, HostId, Invalid, JobId, JobResult, JobStatus, LeaseToken, Payload, Reason,
    Requirement,
};
use crate::support::clock::Timestamp;

/// How many tries or retries one job may be given: more is a mistake, and attempt numbers are small.
pub const MOST_TRIES: u16 = 1000;

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

/// New jobs, all or none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Submit {
    /// The group they belong to.
    pub group: Option<IntoGroup>,
    /// The jobs, in the order in which they are to run.
    pub jobs: Vec<NewJob>,
}

/// Which group new jobs belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntoGroup {
    /// One made with them.
    New(NewGroup),
    /// One that is there.
    Existing(GroupId),
}

/// A group to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewGroup {
    /// Its id.
    pub id: GroupId,
    /// What makes it, such as `dispatch`.
    pub kind: String,
    /// One line for people.
    pub title: String,
    /// The group it repeats or continues.
    pub parent: Option<GroupId>,
    /// Whatever its maker wants to find again.
    pub meta: Payload,
}

/// A job to be submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// What to run.
    pub payload: Payload,
    /// Who may run it.
    pub requirement: Requirement,
    /// Who asks for it.
    pub submitted_by: Option<String>,
    /// Higher runs first, −100 to 100.
    pub priority: i8,
    /// How many lost leases end it, at least 1.
    pub max_attempts: u16,
    /// How often it runs again after it failed by itself.
    pub retries: u16,
    /// How long one try may run.
    pub timeout_ms: Option<u64>,
    /// When a try must have begun.
    pub start_by: Option<Timestamp>,
    /// When the first try may begin.
    pub not_before: Option<Timestamp>,
}

impl NewJob {
    /// Returns a job with a fresh id that any host may run: three tries if hosts vanish, no retry if it fails.
    pub fn new(payload: Payload) -> Self {
        Self {
            id: JobId::fresh(),
            payload,
            requirement: Requirement::default(),
            submitted_by: None,
            priority: 0,
            max_attempts: 3,
            retries: 0,
            timeout_ms: None,
            start_by: None,
            not_before: None,
        }
    }

    /// Checks the ranges of its numbers.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<(), Invalid> {
        if !(-100..=100).contains(&self.priority) {
            return Err(Invalid::new("priority", "must be from -100 to 100"));
        }
        if !(1..=MOST_TRIES).contains(&self.max_attempts) {
            return Err(Invalid::new("max attempts", "must be from 1 to 1000"));
        }
        if self.retries > MOST_TRIES {
            return Err(Invalid::new("retries", "must be at most 1000"));
        }
        Ok(())
    }
}

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

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Of a submit.
    Submitted(Vec<JobId>),
    /// Of a claim.
    Claimed(Vec<Claimed>),
    /// Of a renewal, in the order asked.
    Renewed(Vec<Renewed>),
    /// Of a completion.
    Completed(Completion),
    /// Of a release, in the order asked.
    Released(Vec<Completion>),
    /// Of a cancel.
    Cancelled(Cancelled),
    /// Of time passing.
    Expired(Expired),
    /// Of a reprieve: how many leases got more time.
    Reprieved(u64),
    /// Of a registration, or a change of a host; nothing if there is no such host.
    Host(Option<Box<HostEntry>>),
    /// Of a host that left: whether it was known.
    Forgotten(bool),
    /// Of a pause or its end.
    Paused(bool),
    /// Of output, in the order sent: whether each piece was from the holder.
    Logged(Vec<bool>),
    /// Of a retry.
    Retried(Retried),
    /// Of a service asked for or taken; nothing if there is none for the host.
    Service(Option<Box<ServiceRecord>>),
    /// Of a report on a service.
    ServiceReported(ServiceReported),
    /// Of a pruning.
    Pruned(Pruned),
    /// Nothing was done.
    Refused(Refusal),
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no such group.
    NoSuchGroup(GroupId),
    /// The idempotency key was used for something else.
    KeyConflict(String),
}

/// Accepted jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// Their ids, in the order given. On a replay those of the first time.
    pub jobs: Vec<JobId>,
    /// Whether the answer was remembered from an earlier submit with the same key.
    pub replayed: bool,
}

/// A job given to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// Which job.
    pub job: JobId,
    /// Who got it.
    pub host: HostId,
    /// Which try this is.
    pub attempt: AttemptNo,
    /// What to show with every message about it.
    pub token: LeaseToken,
    /// When the lease runs out unless renewed, by the queue's clock.
    pub expires_at: Timestamp,
    /// What to run.
    pub payload: Payload,
    /// Who may run it.
    pub requirement: Requirement,
    /// The group it belongs to.
    pub group: Option<GroupId>,
    /// How long it may run.
    pub timeout_ms: Option<u64>,
    /// How long the lease lasts without renewal.
    pub lease_for: Duration,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// Who asked for it.
    pub submitted_by: Option<String>,
}

impl Claimed {
    /// Returns what a holder shows with every message about this attempt.
    pub const fn lease(&self) -> LeaseRef {
        LeaseRef::new(self.job, self.attempt, self.token)
    }
}

/// The answer to a renewal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Renewed {
    /// Go on.
    Until(Timestamp),
    /// End it, and report or release it before the lease runs out.
    Cancel {
        /// When the queue ends it anyway.
        until: Timestamp,
        /// What the person said about it.
        reason: Option<String>,
    },
    /// Somebody else has it, or nobody; stop.
    LeaseLost,
}

/// Where a job stands after its attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Completion {
    /// It never changes again.
    Ended {
        /// Well or badly.
        status: JobStatus,
        /// Why badly.
        reason: Option<Reason>,
    },
    /// It will run again.
    Requeued {
        /// Not earlier than this.
        not_before: Option<Timestamp>,
    },
    /// The sender does not hold it; its result was put aside and changes nothing.
    LeaseLost,
}

/// What a cancel did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cancelled {
    /// Waiting jobs that ended at once.
    pub ended: Vec<JobId>,
    /// Running jobs whose holders are told.
    pub asked: Vec<JobId>,
    /// Jobs that had ended before.
    pub already_ended: Vec<JobId>,
    /// Ids that no job has.
    pub unknown: Vec<JobId>,
    /// The step was full: there are more jobs to cancel in this group.
    pub more: bool,
}

/// What became of a host's word about a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceReported {
    /// It was noted.
    Noted(Box<ServiceRecord>),
    /// The host does not have the service.
    NotAssigned,
    /// There is no such service.
    Unknown,
}

/// What a retry did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Retried {
    /// The old job and the new one.
    pub retried: Vec<(JobId, JobId)>,
    /// Jobs that have not ended.
    pub not_ended: Vec<JobId>,
    /// Ids that no job has.
    pub unknown: Vec<JobId>,
}

/// What time did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Expired {
    /// Lost leases whose jobs wait again.
    pub requeued: u64,
    /// Delayed jobs that may start now.
    pub ready: u64,
    /// Jobs that ended.
    pub ended: u64,
    /// When something is due next, if anything is.
    pub next_due: Option<Timestamp>,
}

/// What pruning removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pruned {
    /// How many jobs.
    pub jobs: u64,
    /// Which groups, so that their directories can go too.
    pub groups: Vec<GroupId>,
    /// How many idempotency keys.
    pub keys: u64,
    /// The step was full: call again.
    pub more: bool,
}
