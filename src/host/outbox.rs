//! Hands in results, several at once, until the coordinator has them or says that they are not ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::backoff::Backoff;
use super::begin;
use super::core::{Core, Session};
use super::notice::Notice;
use super::runner::Ran;
use super::settings::OnLeaseLost;
use super::table::key;
use crate::client::Error;
use crate::protocol::api::{Code, Complete, CompleteMany, CompleteOne, LeaseName, Outcome};
use crate::protocol::{JobResult, LeaseToken, Reason};
use crate::support::clock::Timestamp;
use crate::support::paths;

/// How many results go into one request,
const MOST: usize = 256;
/// and how many bytes of output.
const BATCH: usize = 2 * 1024 * 1024;
/// After a job that took less than this, others end soon too;
const SHORT: Duration = Duration::from_millis(10);
/// that is, within this.
const COMPANY: Duration = Duration::from_millis(1);
/// How long a result is kept for a coordinator that is away.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// What came of an attempt, on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub lease: LeaseName,
    success: bool,
    reason: Option<Reason>,
    result: JobResult,
    #[serde(skip)]
    file: Option<PathBuf>,
}

impl Report {
    /// Makes the report; if the owner wants results to outlast a lost coordinator it is written down.
    pub(super) fn new(lease: LeaseName, ran: Ran, core: &Core) -> Self {
        let mut report = Self {
            lease,
            success: ran.success,
            reason: ran.reason,
            result: ran.result,
            file: None,
        };
        if core.settings.on_lease_lost == OnLeaseLost::Finish {
            let name = format!("{}-{}", lease.job_id, lease.attempt);
            let file = core.state.results().join(name);
            let written = serde_json::to_vec(&report)
                .map_err(std::io::Error::from)
                .map(|text| paths::write_private(&file, &text));
            match written {
                Ok(Ok(())) => report.file = Some(file),
                Ok(Err(error)) => tracing::warn!(%error, "cannot keep a result"),
                Err(error) => tracing::warn!(%error, "cannot keep a result"),
            }
        }
        report
    }

    fn is_of_short_job(&self) -> bool {
        u128::from(self.result.duration_ms) < SHORT.as_millis()
    }

    fn size(&self) -> usize {
        self.result.stdout.bytes.len() + self.result.stderr.bytes.len()
    }

    fn one(&self) -> CompleteOne {
        CompleteOne {
            lease: self.lease,
            success: self.success,
            reason: self.reason,
            result: self.result.clone(),
        }
    }

    /// The form of the original, with our fields beside it.
    fn alone(&self, session: &Session) -> Complete {
        let fenced = self.lease.lease_token != LeaseToken::NONE;
        let mut result = self.result.clone();
        if !fenced {
            // The original knows no job without an exit code.
            result.exit_code.get_or_insert(1);
        }
        Complete {
            host_id: session.host.clone(),
            success: self.success,
            attempt: fenced.then_some(self.lease.attempt),
            lease_token: fenced.then_some(self.lease.lease_token),
            reason: self.reason,
            result,
        }
    }
}

/// Returns the results that a former life could not hand in, and drops those that are too old.
pub(super) fn kept(dir: &Path, now: Timestamp) -> Vec<Report> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let report = fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Report>(&text).ok());
        match report.filter(|report| now.since(report.result.finished_at) < KEPT_FOR) {
            Some(report) => kept.push(Report {
                file: Some(path),
                ..report
            }),
            None => drop(fs::remove_file(&path)),
        }
    }
    kept
}

/// Hands in results as long as the daemon runs.
pub(super) async fn keep(core: &Arc<Core>, mut reports: UnboundedReceiver<Report>) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut batch: Vec<Report> = Vec::new();
    loop {
        if batch.is_empty() {
            match reports.recv().await {
                Some(report) => batch.push(report),
                None => return,
            }
        }
        if batch.iter().all(Report::is_of_short_job) && batch.len() < MOST {
            company(core, &mut reports, &mut batch).await;
        }
        let mut size: usize = batch.iter().map(Report::size).sum();
        while batch.len() < MOST && size < BATCH {
            let Ok(report) = reports.try_recv() else {
                break;
            };
            size += report.size();
            batch.push(report);
        }
        let session = core.session().await;
        let handed = if session.batch {
            together(core, &session, &mut batch).await
        } else {
            one_by_one(core, &session, &mut batch).await
        };
        core.stuck.store(handed.is_err(), Ordering::Relaxed);
        if handed.is_err() || reports.is_empty() && core.runner.free() > 0 {
            core.vacant.notify_one();
        }
        match handed {
            Ok(()) => backoff.reset(),
            Err(error) => {
                core.failed(&error);
                backoff.wait().await;
            }
        }
    }
}

/// Waits a moment for other jobs to end while most slots are busy: together they cost one request and one commit.
async fn company(core: &Core, reports: &mut UnboundedReceiver<Report>, batch: &mut Vec<Report>) {
    let slots = usize::from(core.settings.max_parallel);
    let gather = async {
        while core.runner.free() * 2 < slots && batch.len() < MOST && core.takes_work() {
            let Some(report) = reports.recv().await else {
                return;
            };
            batch.push(report);
        }
    };
    let _ = timeout(COMPANY, gather).await;
}

/// Hands in the whole batch, and asks for as many jobs as slots are free. What is left in the batch is to be
/// tried again.
async fn together(
    core: &Arc<Core>,
    session: &Session,
    batch: &mut Vec<Report>,
) -> Result<(), Error> {
    // Who waits for work already has asked for these slots.
    let asking = core.asking.try_lock().ok();
    let asks = asking.is_some() && session.exchange && core.takes_work();
    let free = u16::try_from(core.runner.free()).unwrap_or(u16::MAX);
    let request = CompleteMany {
        completions: batch.iter().map(Report::one).collect(),
        claim: (asks && free > 0).then_some(free),
    };
    let sent_at = core.steady.now();
    match core.client.complete(&session.host, &request).await {
        Ok(reply) => {
            core.works();
            if let Some(claimed) = reply.claimed {
                begin::take(core, session, claimed, sent_at).await;
            }
            drop(asking);
            // What has no answer was not delivered.
            let answered = reply.results.len().min(batch.len());
            for (report, result) in batch.drain(..answered).zip(reply.results) {
                over(core, &report, result.outcome != Outcome::LeaseLost);
            }
            if answered == 0 {
                // Nor will it be in this way.
                return one_by_one(core, session, batch).await;
            }
            Ok(())
        }
        // One of them is at fault: alone each is judged by itself.
        Err(error) if is_final(&error) && error.code() != Some(Code::UnknownHost) => {
            one_by_one(core, session, batch).await
        }
        Err(error) => Err(error),
    }
}

async fn one_by_one(core: &Core, session: &Session, batch: &mut Vec<Report>) -> Result<(), Error> {
    while let Some(report) = batch.first() {
        let job = report.lease.job_id;
        let done = core.client.complete_one(job, &report.alone(session)).await;
        let kept = match done {
            // An answer in another form is still an answer.
            Ok(_) | Err(Error::Answer { .. }) => true,
            Err(error) if error.code() == Some(Code::UnknownHost) => return Err(error),
            Err(error) if is_final(&error) => {
                tracing::warn!(%job, %error, "the coordinator does not take the result");
                false
            }
            Err(error) => return Err(error),
        };
        core.works();
        over(core, &batch.remove(0), kept);
    }
    Ok(())
}

/// Tells whether the same request would be refused again.
fn is_final(error: &Error) -> bool {
    error.code() == Some(Code::LeaseLost)
        || error.code() == Some(Code::UnknownJob)
        || error.status().is_some_and(|status| (400..500).contains(&status))
            // A token may be put right and a busy coordinator may calm down.
            && !matches!(error.status(), Some(401 | 403 | 408 | 429))
}

fn over(core: &Core, report: &Report, kept: bool) {
    let (job, attempt) = key(&report.lease);
    core.over((job, attempt));
    if let Some(file) = &report.file {
        let _ = fs::remove_file(file);
    }
    core.tell(if kept {
        Notice::Completed {
            job,
            attempt,
            ok: report.success,
        }
    } else {
        Notice::LeaseLost { job, attempt }
    });
}
