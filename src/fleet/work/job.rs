//! One attempt of a job on its host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};

use super::claim;
use super::core::Core;
use super::lines::{Full, Lines, Seat};
use super::orders::Orders;
use super::task::{self, Task};
use super::view::{Happened, millis};
use crate::client::holder::{Chunks, Holder, JobLog, Report, Stop, key};
use crate::fleet::capture::Capture;
use crate::fleet::file::Host;
use crate::fleet::report::{Status, Verdict, signal_number};
use crate::fleet::run::RunEvent;
use crate::fleet::supervise::{self, Finished, Limits, Sink, Stream};
use crate::protocol::api::{self, LeaseName, LeasedJob};
use crate::protocol::{JobResult, OUTPUT_LIMIT, Reason};
use crate::ssh::Error;
use crate::support::shutdown::Urgency;

/// How many pieces of output may be on their way to the log.
const PIECES: usize = 16;
/// The exit code of a job that cannot run here, as shells have it.
const NOT_ALLOWED: i32 = 126;

/// What an attempt needs.
pub(super) struct Attempt {
    pub core: Arc<Core>,
    pub lines: Arc<Lines>,
    /// What the fleet file said of the host when the job came.
    pub host: Arc<Host>,
    pub orders: Arc<Orders>,
    pub lease: LeaseName,
    /// The coordinator takes what the job prints while it runs.
    pub logged: bool,
}

/// Why nothing of a job has reached its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Untouched {
    /// The host opens no more sessions.
    Crowded,
    /// The connection was gone before.
    Unsent,
}

impl Attempt {
    /// Runs the job to its end and reports it.
    pub(super) async fn run(self, job: LeasedJob) {
        let core = &self.core;
        let host = core.name.clone();
        let mut unfinished = Unfinished {
            core: Arc::clone(core),
            lease: self.lease,
            over: false,
        };
        core.started(Happened::Started {
            host: host.clone(),
            job: job.id,
            kind: kind_of(&job),
        });
        let report = match task::of(&job, &self.host) {
            Ok(task) => self.attempt(&task).await,
            Err(why) => Ok(self.refused(why)),
        };
        unfinished.over = true;
        let (status, result) = match &report {
            Ok((status, report)) => (*status, report.result.clone()),
            Err(_) => (Status::Skipped, JobResult::default()),
        };
        core.ended(Happened::Ended {
            host,
            job: job.id,
            status,
            duration_ms: result.duration_ms,
            error: result.error,
        });
        match report {
            Ok((_, report)) => core.done(report),
            Err(untouched) => {
                core.table.remove(key(&self.lease));
                // Before anybody hears of the free slot.
                let delay = match untouched {
                    Untouched::Crowded => core.crowd.refused(core.running()),
                    Untouched::Unsent => Duration::ZERO,
                };
                core.forget(key(&self.lease));
                let session = core.session().await;
                claim::release(core, &session, vec![self.lease], delay).await;
            }
        }
    }

    /// Returns what came of it, on whichever connection has a seat for it. Fails if nothing of it has reached the host.
    async fn attempt(&self, task: &Task) -> Result<(Status, Report), Untouched> {
        let mut hears = self.orders.hears();
        loop {
            let seat = tokio::select! {
                seat = self.lines.seat() => seat.map_err(|_| Untouched::Crowded)?,
                () = hears.reached(Urgency::Stop) => return Ok(self.called_off()),
            };
            match self.on(&seat, task).await {
                Err(Untouched::Crowded) if seat.refused() == Full::ThisLine => {}
                other => return other,
            }
        }
    }

    async fn on(&self, seat: &Seat, task: &Task) -> Result<(Status, Report), Untouched> {
        let room = Arc::new(Notify::new());
        let log = self.logged.then(|| {
            let room = Arc::clone(&room);
            let wake = Box::new(move || room.notify_one());
            self.core.logs().open(self.lease, wake)
        });
        let (live, pieces) = mpsc::channel(PIECES);
        let mut sink = Sink {
            stdout: Capture::of_ends(OUTPUT_LIMIT),
            stderr: Capture::of_ends(OUTPUT_LIMIT),
            live: log.is_some().then_some((0, live)),
        };
        let limits = Limits {
            timeout: task.timeout,
            deadline: None,
            grace: task.grace,
        };
        let mut hears = self.orders.hears();
        let running = async {
            let connection = &seat.link.connection;
            let finished =
                supervise::run(connection, &task.command, limits, &mut sink, &mut hears).await;
            // The end of the pieces.
            sink.live = None;
            finished
        };
        let both = async { tokio::join!(running, pump(log.as_deref(), pieces, &room)) };
        let finished = tokio::select! {
            (finished, ()) = both => finished,
            () = self.orders.hurry() => return Err(Untouched::Unsent),
        };
        let untouched = finished.lost.is_some() && !finished.sent && self.orders.why().is_none();
        if untouched {
            self.core.logs().discard(self.lease);
            return Err(match finished.lost {
                Some(Error::ChannelRefused { .. }) => Untouched::Crowded,
                _ => Untouched::Unsent,
            });
        }
        Ok(self.judged(task, finished, sink))
    }

    fn judged(&self, task: &Task, finished: Finished, sink: Sink) -> (Status, Report) {
        let verdict = Verdict::of_finished(&finished);
        let (status, reason, error) = match (verdict.status, self.orders.why()) {
            (Status::Cancelled, Some(stop)) => stopped(&stop),
            (Status::Timeout, _) => {
                let limit = task.timeout.map_or(0, millis);
                let text = format!("timed out after {limit}ms");
                (Status::Timeout, Some(Reason::Timeout), Some(text))
            }
            (status, _) => (status, status.reason(), verdict.error),
        };
        let result = JobResult {
            finished_at: self.core.now(),
            duration_ms: millis(finished.took),
            exit_code: verdict.exit,
            signal: verdict.signal.as_deref().and_then(signal_number),
            stdout: sink.stdout.into_ends(),
            stderr: sink.stderr.into_ends(),
            detail: Some(status.as_str().to_owned()),
            error,
        };
        let report = Report {
            lease: self.lease,
            success: reason.is_none(),
            reason,
            result,
        };
        (status, report)
    }

    /// Returns what to say of a job that was ended before it began.
    fn called_off(&self) -> (Status, Report) {
        let (status, reason, error) = stopped(&self.orders.why().unwrap_or(Stop::Drain));
        let result = JobResult {
            finished_at: self.core.now(),
            detail: Some(status.as_str().to_owned()),
            error,
            ..JobResult::default()
        };
        let report = Report {
            lease: self.lease,
            success: false,
            reason,
            result,
        };
        (status, report)
    }

    fn refused(&self, why: String) -> (Status, Report) {
        let result = JobResult {
            finished_at: self.core.now(),
            exit_code: Some(NOT_ALLOWED),
            error: Some(why),
            ..JobResult::default()
        };
        let report = Report {
            lease: self.lease,
            success: false,
            reason: Some(Reason::NotAllowed),
            result,
        };
        (Status::Failed, report)
    }
}

/// Reports a job whose task ends without a word, which only a fault of ours makes it do; or its lease would be held
/// for as long as the controller lives.
struct Unfinished {
    core: Arc<Core>,
    lease: LeaseName,
    /// It has said how it ended.
    over: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let error = "the controller failed while it ran".to_owned();
        self.core.logs().discard(self.lease);
        self.core.ended(Happened::Ended {
            host: self.core.name.clone(),
            job: self.lease.job_id,
            status: Status::Lost,
            duration_ms: 0,
            error: Some(error.clone()),
        });
        self.core.done(Report {
            lease: self.lease,
            success: false,
            reason: Some(Reason::Lost),
            result: JobResult {
                finished_at: self.core.now(),
                detail: Some(Status::Lost.as_str().to_owned()),
                error: Some(error),
                ..JobResult::default()
            },
        });
    }
}

/// What to say of a job that was asked to end.
fn stopped(why: &Stop) -> (Status, Option<Reason>, Option<String>) {
    let (status, reason, text) = match why {
        Stop::Cancel(Some(why), _) => {
            let text = format!("cancelled: {why}");
            return (Status::Cancelled, Some(Reason::Cancelled), Some(text));
        }
        Stop::Cancel(None, _) | Stop::Owner => (Status::Cancelled, Reason::Cancelled, "cancelled"),
        Stop::Drain | Stop::Now => (Status::Lost, Reason::Lost, "the controller was stopped"),
        Stop::Lost => (Status::Lost, Reason::Lost, "the lease was lost"),
    };
    (status, Some(reason), Some(text.to_owned()))
}

/// Makes pieces of a log of what a job prints, until it is over.
async fn pump(log: Option<&JobLog>, mut pieces: mpsc::Receiver<RunEvent>, room: &Notify) {
    let mut chunks = Chunks::new(log);
    loop {
        let now = Instant::now();
        let due = chunks.flush_old(now);
        let held = chunks.hold_until(now);
        tokio::select! {
            piece = pieces.recv(), if held.is_none() => match piece {
                None => break,
                Some(RunEvent::Output { stream, bytes, .. }) => {
                    let stream = match stream {
                        Stream::Stdout => api::Stream::Stdout,
                        Stream::Stderr => api::Stream::Stderr,
                    };
                    chunks.push(stream, &bytes, Instant::now());
                }
                Some(_) => {}
            },
            () = at(due) => {}
            () = at(held) => {}
            () = room.notified(), if held.is_some() => {}
        }
    }
    chunks.finish();
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

/// Returns the word for the kind of a job, known or not.
fn kind_of(job: &LeasedJob) -> String {
    #[derive(serde::Deserialize)]
    struct Tag {
        kind: String,
    }
    serde_json::from_str::<Tag>(job.payload.as_str())
        .map_or_else(|_| "unknown".to_owned(), |tag| tag.kind)
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::client::holder::Held;

    #[tokio::test]
    async fn a_job_whose_task_fails_is_reported_as_lost() {
        let (core, mut inbox) = fixture::core();
        let lease = fixture::lease();
        core.table.insert(Held {
            lease,
            kind: String::new(),
            submitted_by: None,
            since: core.now(),
            orders: Some(Arc::new(Orders::new(None))),
        });
        let unfinished = Unfinished {
            core: Arc::clone(&core),
            lease,
            over: false,
        };
        let task = tokio::spawn(async move {
            let _unfinished = unfinished;
            panic!("on purpose");
        });
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(core.table.running(), 0, "its slot is free");
        let report = inbox.recv().await.unwrap();
        assert_eq!((report.lease, report.reason), (lease, Some(Reason::Lost)));
    }
}
