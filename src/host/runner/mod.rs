//! Runs jobs as processes of this machine, each in a session and process group of its own.
//!
//! One thread for each slot, which lives as long as the daemon: the kernel ties the signal at the
//! parent's death to the thread that forked. Synchronous; nothing here knows a coordinator.

pub(in crate::host) mod birth;
pub(in crate::host) mod child;
mod drive;
pub(in crate::host) mod orders;
mod phase;
mod places;
pub(in crate::host) mod report;
mod scratch;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use self::orders::Orders;
use self::places::{Places, Waiting};
use super::watch::Watch;
use crate::client::holder::JobLog;
use crate::protocol::api::LeaseName;
use crate::protocol::{AttemptNo, JobId, JobResult, Reason};
use crate::support::clock::{Clock, Timestamp};

/// One read of a pipe; as large as the pipe.
const BUFFER: usize = 64 * 1024;

/// What to run, ready to be run.
#[derive(Debug, Clone)]
pub(in crate::host) struct Task {
    pub job: JobId,
    pub attempt: AttemptNo,
    /// The program's file.
    pub program: PathBuf,
    /// What it is called, by itself and in errors.
    pub name: String,
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where it runs. Filled in from `scratch` if that is asked for.
    pub directory: PathBuf,
    /// A fresh directory is made here for it, and removed afterwards.
    pub scratch: Option<PathBuf>,
    /// The directory stays if the job fails.
    pub keep_failed: bool,
    /// What it reads on standard input.
    pub input: Option<Vec<u8>>,
    /// How long it may run.
    pub limit: Duration,
    /// How long it may tidy up when it is to end.
    pub grace: Duration,
    /// How much of each stream is kept.
    pub max_output: usize,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host) struct Ran {
    pub success: bool,
    pub reason: Option<Reason>,
    /// It was ended because its lease was lost: the result counts for nothing.
    pub lost: bool,
    pub result: JobResult,
}

/// Decides what to run; called in the slot, so that it costs nobody else time.
pub(in crate::host) type Prepare = Box<dyn FnOnce() -> Result<Task, Box<Ran>> + Send>;

/// Told what came of it; called in the slot, which is free by then.
pub(in crate::host) type Done = Box<dyn FnOnce(Ran) + Send>;

/// A job for a slot.
pub(in crate::host) struct Work {
    pub orders: Arc<Orders>,
    pub log: Option<Arc<JobLog>>,
    pub prepare: Prepare,
    pub done: Done,
}

/// The slots.
pub(in crate::host) struct Runner {
    slots: Vec<Slot>,
    places: Arc<Places>,
}

struct Slot {
    work: Sender<Work>,
    wake: Arc<UnixStream>,
}

/// A slot that nobody else has. Give it a job, or it stays taken.
#[derive(Debug)]
pub(in crate::host) struct Place(usize);

impl Runner {
    /// Starts `count` slots.
    pub(in crate::host) fn start(
        count: usize,
        watch: &Arc<Watch>,
        clock: &Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let places = Arc::new(Places::new(count));
        let mut slots = Vec::with_capacity(count);
        for number in 0..count {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            theirs.set_nonblocking(true)?;
            let (work, queue) = channel();
            let ours = Arc::new(ours);
            let slot = SlotThread {
                number,
                queue,
                wake: theirs,
                call: Arc::clone(&ours),
                watch: Arc::clone(watch),
                clock: Arc::clone(clock),
                places: Arc::clone(&places),
            };
            std::thread::Builder::new()
                .name(format!("slot-{number}"))
                .spawn(move || slot.serve())?;
            slots.push(Slot { work, wake: ours });
        }
        Ok(Self { slots, places })
    }

    /// Returns how many slots are free.
    pub(in crate::host) fn free(&self) -> usize {
        self.places.free()
    }

    /// Returns how many jobs wait for a slot.
    pub(in crate::host) fn waiting(&self) -> usize {
        self.places.waiting()
    }

    /// Tells whether the job waits for a slot that this lease is for.
    pub(in crate::host) fn holds(&self, lease: &LeaseName) -> bool {
        self.places.holds(lease)
    }

    /// Returns how many more may wait for a slot.
    pub(in crate::host) fn room(&self) -> usize {
        self.places.room()
    }

    /// Returns since when the job waits that waits longest.
    pub(in crate::host) fn oldest(&self) -> Option<Instant> {
        self.places.oldest()
    }

    /// Takes a free slot, if there is one, and returns the orders for what will run there.
    pub(in crate::host) fn reserve(
        &self,
        until: Option<Timestamp>,
    ) -> Option<(Place, Arc<Orders>)> {
        let number = self.places.take()?;
        let slot = self.slots.get(number)?;
        let orders = Orders::new(until);
        orders.reach(&slot.wake);
        Some((Place(number), Arc::new(orders)))
    }

    /// Runs a job in a slot taken before.
    pub(in crate::host) fn begin(&self, place: Place, work: Work) {
        if let Some(slot) = self.slots.get(place.0) {
            // A slot's thread ends only with the runner.
            let _ = slot.work.send(work);
        }
    }

    /// Runs a job as soon as a slot is free.
    pub(in crate::host) fn hold(&self, lease: LeaseName, work: Work) {
        let since = Instant::now();
        let job = Waiting { lease, since, work };
        if let Some((slot, work)) = self.places.take_or_wait(job) {
            self.begin(Place(slot), work);
        }
    }

    /// Forgets the jobs that wait for a slot, and returns their leases.
    pub(in crate::host) fn clear(&self) -> Vec<LeaseName> {
        let waiting = self.places.clear();
        waiting.into_iter().map(|job| job.lease).collect()
    }
}

struct SlotThread {
    number: usize,
    queue: Receiver<Work>,
    wake: UnixStream,
    /// The other end of `wake`.
    call: Arc<UnixStream>,
    watch: Arc<Watch>,
    clock: Arc<dyn Clock>,
    places: Arc<Places>,
}

impl SlotThread {
    fn serve(self) {
        let mut buffer = vec![0; BUFFER];
        while let Ok(work) = self.queue.recv() {
            let mut next = Some(work);
            while let Some(work) = next {
                next = self.run(work, &mut buffer);
            }
        }
    }

    /// Runs a job. Returns what the slot is to run next, if it is not free now.
    fn run(&self, work: Work, buffer: &mut [u8]) -> Option<Work> {
        let Work {
            prepare,
            orders,
            log,
            done,
        } = work;
        orders.reach(&self.call);
        let mut means = drive::Means {
            wake: &self.wake,
            buffer,
            clock: self.clock.as_ref(),
            watch: &self.watch,
        };
        // A fault of ours must not cost the daemon a slot, nor the job its report.
        let ran = catch_unwind(AssertUnwindSafe(|| {
            run(prepare, &orders, log.as_deref(), &mut means)
        }));
        let ran = ran.unwrap_or_else(|_| {
            let text = "the host daemon had an internal error".to_owned();
            report::failure(Reason::Lost, None, text, self.clock.now())
        });
        let next = self.places.next(self.number);
        done(ran);
        next
    }
}

fn run(
    prepare: Prepare,
    orders: &Orders,
    log: Option<&JobLog>,
    means: &mut drive::Means<'_>,
) -> Ran {
    let mut task = match prepare() {
        Ok(task) => task,
        Err(refused) => return *refused,
    };
    let scratch = match scratch::make(&mut task) {
        Ok(scratch) => scratch,
        Err(error) => {
            let text = format!("make a directory for the job: {error}");
            return report::failure(Reason::Spawn, None, text, means.clock.now());
        }
    };
    let ran = drive::drive(&task, orders, log, means);
    if let Some(scratch) = scratch {
        scratch.remove(ran.success || !task.keep_failed);
    }
    ran
}
