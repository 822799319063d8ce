//! Attends one task of a followed run from its start to its report: live output while it runs, and what
//! the record says once it has ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::tape::Tape;
use super::{Course, PATIENCE, Place};
use crate::client::{Client, Error, LogEvent, LogQuery};
use crate::fleet::capture::Capture;
use crate::fleet::recall;
use crate::fleet::report::{TaskReport, Verdict};
use crate::fleet::run::RunEvent;
use crate::protocol::{AttemptNo, HostId, JobRecord, JobResult};

/// A task that is over sooner is not worth a stream of its own: its result holds what it printed.
const LIVE_AFTER: Duration = Duration::from_millis(400);
/// Pause before a record is asked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// What is known of a job by its events.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Who runs it, and which try it is.
    pub(super) holder: Option<(HostId, AttemptNo)>,
    /// Whether it has ended.
    pub(super) ended: bool,
}

/// What all attendants of a run share.
pub(super) struct Shared {
    pub(super) course: Course,
    pub(super) client: Client,
    pub(super) events: tokio::sync::mpsc::Sender<RunEvent>,
    pub(super) names: super::names::Names,
    /// Streams that may be open at once.
    pub(super) streams: tokio::sync::Semaphore,
    /// Records that may be asked for at once.
    pub(super) asks: tokio::sync::Semaphore,
}

/// One task.
pub(super) struct Attendant {
    pub(super) shared: Arc<Shared>,
    pub(super) unit: usize,
    pub(super) place: Place,
    pub(super) seen: watch::Receiver<Seen>,
    /// The try whose start was told, and where it runs.
    told: Option<(AttemptNo, Option<usize>)>,
}

impl Attendant {
    /// Returns one for the task at `unit`.
    pub(super) fn new(
        shared: &Arc<Shared>,
        unit: usize,
        place: Place,
        seen: watch::Receiver<Seen>,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            unit,
            place,
            seen,
            told: None,
        }
    }

    /// Returns what came of the task once it has ended.
    ///
    /// # Errors
    /// When the coordinator was away for too long, or does not know the job any more.
    pub(super) async fn attend(mut self) -> Result<TaskReport, Error> {
        let shared = Arc::clone(&self.shared);
        let course = &shared.course;
        let live = course.live.then(|| shared.events.clone());
        let mut tape = Tape::new(self.unit, live, |ending| {
            let name = course.file_name(self.unit, &self.place, ending);
            Capture::new(course.max_output, course.directory.join(name))
        });
        let mut record = None;
        loop {
            let seen = self.seen.borrow_and_update().clone();
            if seen.ended {
                break;
            }
            if let Some((host, attempt)) = seen.holder {
                self.started(&host, attempt).await;
                tape.again(attempt);
            }
            if !course.live {
                self.changed().await;
                continue;
            }
            tokio::select! {
                biased;
                () = self.changed() => continue,
                () = tokio::time::sleep(LIVE_AFTER) => {}
            }
            match self.follow(&mut tape).await {
                Ok(ended) => {
                    record = Some(ended);
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, job = %self.place.job, "its log cannot be followed");
                    // What it prints meanwhile is shown at its end.
                    let _ = self.seen.wait_for(|seen| seen.ended).await;
                }
            }
        }
        let record = match record {
            Some(record) => record,
            None => self.record().await?,
        };
        if let Some(host) = &record.last_host_id {
            self.started(host, record.attempts).await;
            tape.again(record.attempts);
        }
        let result = record.result.clone().unwrap_or_default();
        self.complete(&mut tape, &result).await;
        let output = tape.finish(&result.stdout, &result.stderr).await;
        let verdict = recall::verdict(&record)
            .unwrap_or_else(|| Verdict::plain(crate::fleet::report::Status::Lost));
        let at = self.told.and_then(|(_, host)| host).or(self.place.host);
        let host = at.and_then(|at| course.names.get(at)).cloned();
        Ok(recall::report(
            &record,
            host,
            self.place.task,
            verdict,
            output,
        ))
    }

    async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            // The run is over for us; nobody waits for this.
            std::future::pending::<()>().await;
        }
    }

    /// Says once for each try that it began.
    async fn started(&mut self, host: &HostId, attempt: AttemptNo) {
        if self.told.is_some_and(|(told, _)| told >= attempt) {
            return;
        }
        let at = match self.place.host {
            Some(at) => Some(at),
            None => self.shared.names.position(&self.shared, host).await,
        };
        self.told = Some((attempt, at));
        if let Some(host) = at {
            let unit = self.unit;
            let _ = self
                .shared
                .events
                .send(RunEvent::Started { unit, host })
                .await;
        }
    }

    /// Follows the log until the job ends.
    async fn follow(&mut self, tape: &mut Tape) -> Result<JobRecord, Error> {
        let shared = Arc::clone(&self.shared);
        // Never closed.
        let _permit = shared.streams.acquire().await;
        let mut stream = shared
            .client
            .follow_logs(self.place.job, &LogQuery::default())
            .await?;
        loop {
            tokio::select! {
                // A host is told before what it printed.
                biased;
                changed = self.seen.changed() => {
                    let holder = self.seen.borrow_and_update().holder.clone();
                    if let (Ok(()), Some((host, attempt))) = (changed, holder) {
                        self.started(&host, attempt).await;
                    }
                }
                next = stream.next() => match next? {
                    LogEvent::Piece(piece) => tape.piece(&piece).await,
                    LogEvent::End(ended) => return Ok(*ended),
                },
            }
        }
    }

    /// Reads the log where the result holds only its ends.
    async fn complete(&self, tape: &mut Tape, result: &JobResult) {
        if !tape.lacks(&result.stdout, &result.stderr) {
            return;
        }
        let mut query = LogQuery::default();
        loop {
            let page = match self.shared.client.logs(self.place.job, &query).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(%error, job = %self.place.job, "its log cannot be read");
                    return;
                }
            };
            for piece in &page.pieces {
                tape.piece(piece).await;
            }
            if page.done || query.cursor.as_ref() == Some(&page.next) {
                return;
            }
            query.cursor = Some(page.next);
        }
    }

    /// Asks for the record of a job that has ended.
    async fn record(&self) -> Result<JobRecord, Error> {
        let since = Instant::now();
        loop {
            let asked = {
                // Never closed.
                let _permit = self.shared.asks.acquire().await;
                self.shared.client.job(self.place.job).await
            };
            match asked {
                Ok(record) if record.status.is_final() => return Ok(record),
                Ok(_) => {}
                Err(error) if error.retry_helps() && since.elapsed() < PATIENCE => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
