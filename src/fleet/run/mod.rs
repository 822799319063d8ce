//! One run: tasks become jobs of the queue, push workers claim them host by host, and every task and
//! every host ends with a report.
//!
//! The queue is the only truth about the jobs. What may not be written down (secrets in an
//! environment) and what is only good for this process (live output) stays here in memory.

mod event;
mod plan;
mod shared;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use self::event::{RunEvent, channel, tell_known};
use self::plan::submission;
pub use self::plan::{InputFile, MakeCommand, Plan, Unit};
use crate::fleet::file::Host;
use crate::fleet::link::Links;
use crate::fleet::push;
use crate::fleet::report::TaskReport;
use crate::protocol::{GroupId, HostId, JobId};
use crate::queue::{LeaseRef, Queue};
use crate::support::clock::Clock;
use crate::support::shutdown::Shutdown;
use crate::support::tasks;

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

/// Returns the name under which the queue knows a host of the fleet.
#[allow(clippy::expect_used, reason = "the names are validated the same way")]
pub(super) fn host_id(host: &Host) -> HostId {
    // Host names are words, which is more than the queue asks of an id.
    HostId::new(host.name.as_str()).expect("a host name is an id")
}
