//! One run: tasks become jobs of the queue, push workers claim them host by host, and every task and
//! every host ends with a report.
//!
//! The queue is the only truth about the jobs. What may not be written down (secrets in an
//! environment) and what is only good for this process (live output) stays here in memory.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fleet::attend::Attendant;
use crate::fleet::file::Host;
use crate::fleet::link::Links;
use crate::fleet::push;
use crate::fleet::remote::Command;
use crate::fleet::report::{self, Status, TaskReport, signal_number};
use crate::fleet::supervise::Stream;
use crate::protocol::{GroupId, HostId, JobId, JobResult, Output, Payload, Requirement};
use crate::queue::{
    Cancel, Claimed, IntoGroup, LeaseRef, NewGroup, NewJob, Queue, Report, Submit, Verdict,
};
use crate::support::clock::Clock;
use crate::support::shutdown::{Shutdown, Urgency};
use crate::support::tasks;

/// Events that may wait for the one who shows them.
const EVENT_BACKLOG: usize = 256;

/// Something to show, as it happens.
#[derive(Debug)]
pub enum RunEvent {
    /// A host took a task.
    Started {
        /// The unit of the plan.
        unit: usize,
        /// The position of the host in the plan.
        host: usize,
    },
    /// It printed something.
    Output {
        /// The unit of the plan.
        unit: usize,
        /// Which stream.
        stream: Stream,
        /// What.
        bytes: Bytes,
    },
    /// A task is over, or never ran.
    Ended {
        /// The unit of the plan.
        unit: usize,
        /// What came of it.
        report: Box<TaskReport>,
    },
    /// A task has been waiting for its host for a while.
    Waiting {
        /// Why, as far as the coordinator knows.
        why: String,
    },
    /// A host that tasks could have gone to cannot be used.
    HostDown {
        /// The position of the host in the plan.
        host: usize,
        /// Why.
        verdict: Box<report::Verdict>,
    },
    /// A host that should be as it was may not be, whatever came of its tasks.
    NotCleaned {
        /// The position of the host in the plan.
        host: usize,
        /// Why.
        verdict: Box<report::Verdict>,
    },
}

/// One job of a run.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its job.
    pub job: JobId,
    /// Which task, from 0.
    pub task: usize,
    /// The host it must run on; none = any.
    pub host: Option<usize>,
    /// What the queue keeps of it.
    pub payload: Payload,
}

/// Makes the command of a unit for a host.
pub type MakeCommand = dyn Fn(&Unit, &Host) -> Command + Send + Sync;

/// A local file for the standard input of every task.
#[derive(Debug, Clone)]
pub struct InputFile {
    /// Where it is on this machine.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

/// All that a run needs to know.
pub struct Plan {
    /// What makes it: `dispatch` or `exec`.
    pub kind: &'static str,
    /// One line for people; without secrets.
    pub title: String,
    /// What `fleet show` wants to know later; without secrets.
    pub meta: Payload,
    /// The hosts, in order.
    pub hosts: Vec<Arc<Host>>,
    /// The jobs, in order.
    pub units: Vec<Unit>,
    /// What to run.
    pub command: Box<MakeCommand>,
    /// What every task gets on its standard input, if not what its command says.
    pub input: Option<InputFile>,
    /// Who installs the agent first and cleans up afterwards, if anybody.
    pub attendant: Option<Arc<Attendant>>,
    /// Whether the hosts are tried in order, one after the other, until one takes the work.
    pub one_by_one: bool,
    /// Limit of each task where its host sets none.
    pub timeout: Option<Duration>,
    /// When the run must end.
    pub deadline: Option<Duration>,
    /// Between TERM and KILL.
    pub grace: Duration,
    /// The most output kept of a stream, in bytes.
    pub max_output: Option<u64>,
    /// Where output too large for memory goes.
    pub directory: PathBuf,
    /// Whether output is shown while it comes.
    pub live: bool,
}

/// Why a run could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue failed. Tasks that ran keep running to their limit; their reports were given.
    #[error("the local queue failed")]
    Queue(#[from] crate::queue::Error),
}

/// Whether a run is new.
#[derive(Debug)]
pub enum Begin {
    /// Its jobs are to be handed in.
    New {
        /// The run that it repeats.
        parent: Option<GroupId>,
    },
    /// The queue has its jobs; these units have their reports, and what waits is done now.
    Again(Vec<(usize, TaskReport)>),
}

/// What a run works with.
#[derive(Clone)]
pub struct Means {
    /// Where its jobs go.
    pub queue: Queue,
    /// How its hosts are reached.
    pub links: Links,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// What all workers of a run share.
pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) group: GroupId,
    pub(super) units: HashMap<JobId, usize>,
    pub(super) means: Means,
    pub(super) deadline: Option<Instant>,
    pub(super) events: mpsc::Sender<RunEvent>,
    /// What push workers hold right now, for renewal.
    pub(super) leases: Mutex<HashMap<JobId, LeaseRef>>,
    /// Hosts that are of no more use to this run.
    out: Mutex<HashSet<usize>>,
    /// Set when a host gave a task back that it could not run.
    pub(super) gave_back: AtomicBool,
    ended: Mutex<HashSet<usize>>,
    failed: Mutex<Option<crate::queue::Error>>,
}

/// Returns the channel on which a run tells what happens.
pub fn channel() -> (mpsc::Sender<RunEvent>, mpsc::Receiver<RunEvent>) {
    mpsc::channel(EVENT_BACKLOG)
}

/// Carries out `plan` under the id `group`. Every unit gets exactly one [`RunEvent::Ended`].
///
/// # Errors
/// When the queue cannot take the jobs or their results.
pub async fn carry_out(
    plan: Plan,
    group: GroupId,
    begin: Begin,
    means: Means,
    shutdown: Shutdown,
    events: mpsc::Sender<RunEvent>,
) -> Result<(), Error> {
    let deadline = plan.deadline.map(|span| Instant::now() + span);
    let units = plan
        .units
        .iter()
        .enumerate()
        .map(|(at, unit)| (unit.job, at))
        .collect();
    let (jobs, known) = match begin {
        Begin::New { parent } => (Some(submission(&plan, group, parent)), Vec::new()),
        Begin::Again(known) => (None, known),
    };
    let run = Arc::new(Run {
        plan,
        group,
        units,
        means,
        deadline,
        events,
        leases: Mutex::default(),
        out: Mutex::default(),
        gave_back: AtomicBool::new(false),
        ended: Mutex::default(),
        failed: Mutex::default(),
    });
    for (unit, report) in known {
        let host = report.host.as_ref();
        let host = host.and_then(|name| run.plan.hosts.iter().position(|host| host.name == *name));
        tell_known(&run.events, unit, host, &report, run.plan.live).await;
        if let Some(job) = run.plan.units.get(unit).map(|unit| unit.job) {
            run.end(job, report).await;
        }
    }
    // Connecting does not wait for the disk, but no task starts before its job is on it.
    let (on_disk, submitted) = watch::channel(false);
    let one_by_one = run.plan.one_by_one;
    let mut workers = JoinSet::new();
    if !one_by_one {
        workers = start_workers(&run, &submitted, &shutdown);
    }
    if let Some(jobs) = jobs {
        run.means.queue.submit(jobs, None).await?;
    }
    on_disk.send_replace(true);
    let renewing = tokio::spawn(push::renew_leases(Arc::clone(&run)));
    for at in 0..run.plan.hosts.len() {
        if one_by_one && !run.is_done() {
            push::work(Arc::clone(&run), at, submitted.clone(), shutdown.clone()).await;
        }
    }
    loop {
        tasks::finish(&mut workers, |()| {}).await;
        // A task may come back after the hosts that could run it have left. Each round loses a host.
        if !run.gave_back.swap(false, Ordering::Relaxed) || run.is_done() {
            break;
        }
        workers = start_workers(&run, &submitted, &shutdown);
    }
    renewing.abort();
    run.end_leftovers(&shutdown).await;
    let failed = run
        .failed
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Tells of a task that ended before, as if it ran now: all but its end.
pub async fn tell_known(
    events: &mpsc::Sender<RunEvent>,
    unit: usize,
    host: Option<usize>,
    report: &TaskReport,
    live: bool,
) {
    let Some(host) = host else {
        return;
    };
    // Nobody listens any more only when the user left at once.
    let _ = events.send(RunEvent::Started { unit, host }).await;
    let streams = [
        (Stream::Stdout, &report.stdout),
        (Stream::Stderr, &report.stderr),
    ];
    for (stream, kept) in streams.into_iter().filter(|_| live) {
        let bytes = Bytes::from(kept.read().unwrap_or_default());
        if !bytes.is_empty() {
            let _ = events
                .send(RunEvent::Output {
                    unit,
                    stream,
                    bytes,
                })
                .await;
        }
    }
}

fn start_workers(
    run: &Arc<Run>,
    submitted: &watch::Receiver<bool>,
    shutdown: &Shutdown,
) -> JoinSet<()> {
    let mut workers = JoinSet::new();
    for at in 0..run.plan.hosts.len() {
        if run.has_work_for(at) {
            workers.spawn(push::work(
                Arc::clone(run),
                at,
                submitted.clone(),
                shutdown.clone(),
            ));
        }
    }
    workers
}

fn submission(plan: &Plan, group: GroupId, parent: Option<GroupId>) -> Submit {
    let jobs = plan.units.iter().map(|unit| NewJob {
        id: unit.job,
        requirement: Requirement {
            hosts: unit
                .host
                .and_then(|at| plan.hosts.get(at))
                .map(|host| host.name.to_string())
                .into_iter()
                .collect(),
            ..Requirement::default()
        },
        // Tasks may have effects: one that was cut off is looked at by a person before it runs again.
        max_attempts: 1,
        timeout_ms: plan
            .timeout
            .and_then(|limit| u64::try_from(limit.as_millis()).ok()),
        ..NewJob::new(unit.payload.clone())
    });
    let group = NewGroup {
        id: group,
        kind: plan.kind.to_owned(),
        title: plan.title.clone(),
        parent,
        meta: plan.meta.clone(),
    };
    Submit {
        group: Some(IntoGroup::New(group)),
        jobs: jobs.collect(),
    }
}

/// Returns the name under which the queue knows a host of the fleet.
#[allow(clippy::expect_used, reason = "the names are validated the same way")]
pub(super) fn host_id(host: &Host) -> HostId {
    // Host names are words, which is more than the queue asks of an id.
    HostId::new(host.name.as_str()).expect("a host name is an id")
}

impl Run {
    fn is_done(&self) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.len() == self.plan.units.len()
    }

    fn has_work_for(&self, at: usize) -> bool {
        !self.is_out(at) && self.has_open_work_for(at)
    }

    /// Tells whether something is left that this host could run.
    pub(super) fn has_open_work_for(&self, at: usize) -> bool {
        self.open_units()
            .into_iter()
            .filter_map(|open| self.plan.units.get(open))
            .any(|unit| unit.host.is_none_or(|host| host == at))
    }

    /// Keeps the first failure of the queue for the end of the run.
    pub(super) fn fail(&self, error: crate::queue::Error) {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    }

    pub(super) async fn tell(&self, event: RunEvent) {
        // Nobody listens any more only when the user left at once; the queue has the results.
        let _ = self.events.send(event).await;
    }

    /// Reports a unit: to the queue first, so that what is shown is also on disk.
    pub(super) async fn finish(
        &self,
        claimed: &Claimed,
        report: TaskReport,
        ends: (Output, Output),
    ) {
        let lease = claimed.lease();
        self.leases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&claimed.job);
        let result = JobResult {
            finished_at: self.means.clock.now(),
            duration_ms: u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
            exit_code: report.exit,
            signal: report.signal.as_deref().and_then(signal_number),
            stdout: ends.0,
            stderr: ends.1,
            detail: Some(report.status.as_str().to_owned()),
            error: report.error.clone(),
        };
        let verdict = report
            .status
            .reason()
            .map_or(Verdict::Succeeded, Verdict::Failed);
        if let Err(error) = self
            .means
            .queue
            .complete(lease, Report { verdict, result })
            .await
        {
            self.fail(error);
        }
        self.end(claimed.job, report).await;
    }

    pub(super) fn is_out(&self, at: usize) -> bool {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.contains(&at)
    }

    /// Says once that a host is of no more use.
    pub(super) async fn host_down(&self, at: usize, verdict: report::Verdict) {
        let is_new = self
            .out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(at);
        if is_new {
            let verdict = Box::new(verdict);
            self.tell(RunEvent::HostDown { host: at, verdict }).await;
        }
    }

    async fn end(&self, job: JobId, report: TaskReport) {
        let Some(unit) = self.units.get(&job).copied() else {
            return;
        };
        if self
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(unit)
        {
            self.tell(RunEvent::Ended {
                unit,
                report: Box::new(report),
            })
            .await;
        }
    }

    fn open_units(&self) -> Vec<usize> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        (0..self.plan.units.len())
            .filter(|unit| !ended.contains(unit))
            .collect()
    }

    /// Ends the units that no host has taken, so that every one of them has a report.
    async fn end_leftovers(&self, shutdown: &Shutdown) {
        let open = self.open_units();
        if open.is_empty() {
            return;
        }
        let (status, why) = self.why_not_started(shutdown);
        let cancelled = self
            .means
            .queue
            .cancel(
                Cancel::Group(self.group),
                Some(format!("{}: {why}", status.as_str())),
            )
            .await;
        if let Err(error) = cancelled {
            self.fail(error);
        }
        for unit in open.into_iter().filter_map(|at| self.plan.units.get(at)) {
            let host = unit.host.and_then(|at| self.plan.hosts.get(at));
            let judged = report::Verdict::because(status, why);
            let report = self.report(unit, host.map(Arc::as_ref), judged);
            self.end(unit.job, report).await;
        }
    }

    /// Returns the status and the reason of what is not started now.
    pub(super) fn why_not_started(&self, shutdown: &Shutdown) -> (Status, &'static str) {
        if shutdown.urgency() > Urgency::Running {
            (Status::Cancelled, "stopped before it started")
        } else if self
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            (Status::Skipped, "the run's deadline came first")
        } else {
            (Status::Skipped, "no host was left to run it")
        }
    }

    /// Returns a report without output.
    pub(super) fn report(
        &self,
        unit: &Unit,
        host: Option<&Host>,
        judged: report::Verdict,
    ) -> TaskReport {
        let host = host.map(|host| host.name.clone());
        TaskReport::without_output(host, unit.task, unit.job, judged, self.means.clock.now())
    }
}
