//! Who may write: turns requests into commands and has them applied.
//!
//! Here time, ids and chance are put into a command; behind this point nothing asks for them.

mod hosts;
mod leases;
mod local;
mod now;
pub mod raft;
mod readers;
mod services;
mod take_over;
mod way;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use super::command::{
    Cancel, Cancelled, Command, Envelope, Expired, Idempotency, Outcome, Prune, Pruned, Refusal,
    Submit, Submitted,
};
use super::error::Error;
use super::store::{Applied, Cursor, JobFilter, JobView, Page, Reader};
use crate::protocol::{
    AttemptNo, AttemptRecord, GroupCounts, GroupId, GroupRecord, JobId, JobResult, JobStatus,
    Reason,
};
use crate::support::clock::{Clock, SteadyClock, Timestamp};
use local::Local;
use now::Now;
use readers::Readers;
use way::Way;

/// How many jobs one step of a long command touches, so that other callers are not held up.
const STEP: u32 = 500;

/// How a queue is opened.
#[derive(Clone)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// Tells the time for commands.
    pub clock: Arc<dyn Clock>,
    /// Looks the whole file over first, not only a small one after an unclean end.
    pub check_always: bool,
    /// Works on the calling task, without threads: for simulations that must run the same way
    /// every time. The clock must then be steady.
    pub inline: bool,
    /// How soon members of a cluster miss their leader.
    pub timing: Timing,
    /// After how many entries the log between members is shortened, and how many stay for members that
    /// are behind; whoever is further behind gets a copy of the queue.
    pub log_entries: u64,
}

/// How soon members of a cluster miss their leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often the leader says that it is there.
    pub heartbeat: Duration,
    /// How long nothing must be heard of it at least before somebody else wants to lead.
    pub election_min: Duration,
    /// How long at most: each member draws a span of its own, so that they do not all want to at once.
    pub election_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(600),
            election_max: Duration::from_millis(1200),
        }
    }
}

impl Options {
    /// Returns options for the file at `path`. The time is that of this machine now, and counted
    /// from here on: who sets the machine's clock later moves no lease.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            clock: Arc::new(SteadyClock::start()),
            check_always: false,
            inline: false,
            timing: Timing::default(),
            log_entries: raft::KEPT_ENTRIES,
        }
    }
}

/// Something that changed and is safe on disk. Told only inside this process; what other processes
/// do is seen by asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A job may be claimed now.
    Ready {
        /// Which.
        job: JobId,
        /// Its group.
        group: Option<GroupId>,
        /// Its last host lost it and may not have it yet.
        avoids: bool,
    },
    /// The holder of this attempt should end it.
    CancelAsked {
        /// Which job.
        job: JobId,
        /// Which try.
        attempt: AttemptNo,
    },
    /// A job reached its last status.
    Ended {
        /// Which.
        job: JobId,
        /// Its group.
        group: Option<GroupId>,
        /// Well or badly.
        status: JobStatus,
        /// Why badly.
        reason: Option<Reason>,
    },
}

/// A handle on the queue. Cheap to clone; the last one to be dropped finishes what was accepted
/// and closes the file.
#[derive(Clone)]
pub struct Queue {
    // Readers first: the writer's connection must close last to clean up the log.
    readers: Arc<Readers>,
    way: Arc<Way>,
    local: Arc<Local>,
    now: Arc<Now>,
    /// Keeps its part in a cluster going, if it may have one.
    _member: Option<Arc<raft::Held>>,
}

/// Makes an error of a refusal.
fn accepted(applied: Applied) -> Result<Applied, Error> {
    match applied.outcome {
        Outcome::Refused(Refusal::NoSuchGroup(id)) => Err(Error::NoSuchGroup(id)),
        Outcome::Refused(Refusal::KeyConflict(key)) => Err(Error::KeyConflict(key)),
        Outcome::Refused(Refusal::IdInUse(id)) => Err(Error::IdInUse(id)),
        Outcome::Submitted(_)
        | Outcome::Claimed(_)
        | Outcome::Renewed(_)
        | Outcome::Completed(_)
        | Outcome::CompletedMany(_)
        | Outcome::Released(_)
        | Outcome::Cancelled(_)
        | Outcome::Expired(_)
        | Outcome::Reprieved(_)
        | Outcome::Host(_)
        | Outcome::Forgotten(_)
        | Outcome::Readmitted(_)
        | Outcome::Paused(_)
        | Outcome::Logged(_)
        | Outcome::Retried(_)
        | Outcome::Service(_)
        | Outcome::ServiceChanged(_)
        | Outcome::Services(_)
        | Outcome::ServiceReported(_)
        | Outcome::TakenOver(_)
        | Outcome::Pruned(_) => Ok(applied),
    }
}

impl Queue {
    /// Opens the queue, or makes it.
    ///
    /// # Errors
    /// When the place cannot be made, or the file is newer, damaged, locked or unreadable.
    pub fn open(options: Options) -> Result<Self, Error> {
        raft::refuse_members(&options.path)?;
        Self::open_any(options)
    }

    /// Opens the queue even if it is a member of a cluster.
    fn open_any(options: Options) -> Result<Self, Error> {
        let local = Local::open(&options.path, options.check_always, options.inline)?;
        let local = Arc::new(local);
        Ok(Self {
            way: Arc::new(Way::new(Arc::clone(&local))),
            local,
            readers: Arc::new(Readers::new(options.path)),
            now: Arc::new(match options.inline {
                true => Now::by(options.clock),
                false => Now::new(options.clock),
            }),
            _member: None,
        })
    }

    /// Returns a listener to what changes from now on. One that falls behind loses the oldest news
    /// and is told so; it should then read again.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.local.changes()
    }

    /// Returns the time that goes into commands now. Never earlier than it was returned before.
    pub fn now(&self) -> Timestamp {
        self.now.get()
    }

    /// Applies a command that is complete, for engines and tests that make their own.
    ///
    /// # Errors
    /// When the file fails; see [`Error`].
    pub async fn apply(&self, envelope: Envelope) -> Result<Applied, Error> {
        self.way.run(envelope).await.and_then(accepted)
    }

    /// Applies two commands in one commit, the first one first. Each stands alone.
    async fn apply_both(&self, first: Envelope, second: Envelope) -> [Result<Applied, Error>; 2] {
        let both = self.way.run_both(first, second).await;
        both.map(|applied| applied.and_then(accepted))
    }

    /// Applies a command whose answer is remembered under the key, if there is one.
    async fn apply_keyed(
        &self,
        command: Command,
        idempotency: Option<Idempotency>,
    ) -> Result<Applied, Error> {
        self.apply(Envelope {
            command,
            idempotency,
        })
        .await
    }

    /// Accepts new jobs, all or none. They are on disk when this returns.
    ///
    /// # Errors
    /// When a number is out of range, the group is unknown, the key was used otherwise, or the file fails.
    pub async fn submit(
        &self,
        submit: Submit,
        idempotency: Option<Idempotency>,
    ) -> Result<Submitted, Error> {
        for job in &submit.jobs {
            job.check()?;
        }
        let now = self.now.get();
        let command = Command::Submit { now, submit };
        let applied = self.apply_keyed(command, idempotency).await?;
        let replayed = applied.replayed;
        match applied.outcome {
            Outcome::Submitted(jobs) => Ok(Submitted { jobs, replayed }),
            other => Err(mixed_up(&other)),
        }
    }

    /// Takes jobs back: waiting ones end at once, holders of running ones are told.
    ///
    /// # Errors
    /// When the file fails; part of a large group may then be cancelled.
    pub async fn cancel(&self, target: Cancel, reason: Option<String>) -> Result<Cancelled, Error> {
        self.cancel_within(target, reason, None).await
    }

    /// Cancels as [`Self::cancel`] does, and says how long running jobs may tidy up.
    ///
    /// # Errors
    /// When the file fails; part of a large group may then be cancelled.
    pub async fn cancel_within(
        &self,
        target: Cancel,
        reason: Option<String>,
        grace: Option<Duration>,
    ) -> Result<Cancelled, Error> {
        let mut all = Cancelled::default();
        loop {
            let command = Command::Cancel {
                now: self.now.get(),
                target: target.clone(),
                reason: reason.clone(),
                grace,
                limit: STEP,
            };
            match self.apply(command.into()).await?.outcome {
                Outcome::Cancelled(part) => {
                    all.ended.extend(part.ended);
                    all.asked.extend(part.asked);
                    all.already_ended.extend(part.already_ended);
                    all.unknown.extend(part.unknown);
                    if !part.more {
                        return Ok(all);
                    }
                }
                other => return Err(mixed_up(&other)),
            }
        }
    }

    /// Lets everything happen that is due: lost leases, ended waits, missed starts.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn expire_due(&self) -> Result<Expired, Error> {
        let mut all = Expired::default();
        loop {
            let now = self.now.get();
            let command = Command::ExpireDue { now, limit: STEP };
            match self.apply(command.into()).await?.outcome {
                Outcome::Expired(part) => {
                    all.requeued += part.requeued;
                    all.ready += part.ready;
                    all.ended += part.ended;
                    all.next_due = part.next_due;
                    if part.next_due.is_none_or(|at| at > now) {
                        return Ok(all);
                    }
                }
                other => return Err(mixed_up(&other)),
            }
        }
    }

    /// Gives every lease one fresh lease time, for a server whose holders could not reach it while it was down.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn reprieve(&self) -> Result<u64, Error> {
        let now = self.now.get();
        match self.apply(Command::Reprieve { now }.into()).await?.outcome {
            Outcome::Reprieved(leases) => Ok(leases),
            other => Err(mixed_up(&other)),
        }
    }

    /// Removes one step of what `rule` calls old; call again while the answer says `more`.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn prune(&self, rule: Prune) -> Result<Pruned, Error> {
        let now = self.now.get();
        match self
            .apply(Command::Prune { now, rule }.into())
            .await?
            .outcome
        {
            Outcome::Pruned(pruned) => Ok(pruned),
            other => Err(mixed_up(&other)),
        }
    }

    /// Returns the job with this id.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn job(&self, id: JobId) -> Result<Option<JobView>, Error> {
        self.read(move |reader| reader.job(id)).await
    }

    /// Returns every try of a job, oldest first; nothing if there is no such job.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn attempts(&self, id: JobId) -> Result<Option<Vec<AttemptRecord>>, Error> {
        self.read(move |reader| reader.attempts(id)).await
    }

    /// Returns late reports of holders that had lost their lease.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn strays(&self, id: JobId) -> Result<Vec<(AttemptNo, JobResult)>, Error> {
        self.read(move |reader| reader.strays(id)).await
    }

    /// Returns a page of jobs: those of a group in queue order, others newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn jobs(
        &self,
        filter: JobFilter,
        from: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<JobView>, Error> {
        self.read(move |reader| reader.jobs(&filter, from, limit))
            .await
    }

    /// Returns the group with this id and where its jobs stand.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn group(&self, id: GroupId) -> Result<Option<GroupRecord>, Error> {
        self.read(move |reader| reader.group(id)).await
    }

    /// Returns the newest groups, newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn groups(&self, limit: u32) -> Result<Vec<GroupRecord>, Error> {
        self.read(move |reader| reader.groups(limit)).await
    }

    /// Returns how many jobs have which status.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn counts(&self) -> Result<GroupCounts, Error> {
        self.read(Reader::counts).await
    }

    /// Tells whether more than `count` jobs wait that a host may take now. Costs as many steps.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn more_wait_than(&self, count: u32) -> Result<bool, Error> {
        self.read(move |reader| reader.more_wait_than(count)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if self.local.is_inline() {
            return self.readers.with(read);
        }
        // Holds the writer too, so that it outlives this read and can clean up behind it.
        let (readers, local) = (Arc::clone(&self.readers), Arc::clone(&self.local));
        tokio::task::spawn_blocking(move || {
            let done = readers.with(read);
            drop(readers);
            drop(local);
            done
        })
        .await
        .unwrap_or(Err(Error::Closed))
    }
}

/// An outcome of another kind than the command: it can only be a key shared by two kinds of request.
fn mixed_up(outcome: &Outcome) -> Error {
    // Its kind only: what is in it may be secret.
    tracing::debug!(kind = ?std::mem::discriminant(outcome), "outcome of another kind");
    Error::KeyConflict("used for another kind of request".to_owned())
}

#[cfg(test)]
mod tests;
