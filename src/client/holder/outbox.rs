//! Hands in results, several at once, until the coordinator has them or says that they are not ours.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::{Holder, Session};
use crate::client::{Error, RequestName};
use crate::protocol::api::{Code, Complete, CompleteMany, CompleteOne, LeaseName, Outcome};
use crate::protocol::{JobResult, LeaseToken, Reason};
use crate::support::backoff::Backoff;

/// How many results go into one request,
const MOST: usize = 256;
/// and how many bytes of output.
const BATCH: usize = 2 * 1024 * 1024;
/// After a job that took less than this, others end soon too;
const SHORT: Duration = Duration::from_millis(10);
/// that is, within this.
const COMPANY: Duration = Duration::from_millis(1);

/// What came of an attempt, on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Which attempt.
    pub lease: LeaseName,
    /// Good or bad.
    pub success: bool,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// What came of it.
    pub result: JobResult,
}

impl Report {
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

/// Hands in what comes through `reports` until nobody can send any more and all is handed in.
pub async fn hand_in<H: Holder>(holder: &H, mut reports: UnboundedReceiver<Report>) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut batch: Vec<Report> = Vec::new();
    // Until its answer has come, so that what came with a lost one comes again.
    let mut name = RequestName::fresh();
    loop {
        if batch.is_empty() {
            match reports.recv().await {
                Some(report) => batch.push(report),
                None => return,
            }
        }
        if batch.iter().all(Report::is_of_short_job) && !holder.gather().await {
            company(holder, &mut reports, &mut batch).await;
        }
        let mut size: usize = batch.iter().map(Report::size).sum();
        while batch.len() < MOST && size < BATCH {
            let Ok(report) = reports.try_recv() else {
                break;
            };
            size += report.size();
            batch.push(report);
        }
        let session = holder.session().await;
        let handed = if session.batch {
            together(holder, &session, &name, &mut batch).await
        } else {
            one_by_one(holder, &session, &mut batch).await
        };
        holder.handed_in(handed.is_ok(), reports.is_empty());
        match handed {
            Ok(()) => {
                backoff.reset();
                name = RequestName::fresh();
            }
            Err(error) => {
                holder.failed(&error);
                backoff.wait().await;
            }
        }
    }
}

/// Waits a moment for other jobs to end: together they cost one request and one commit.
async fn company<H: Holder>(
    holder: &H,
    reports: &mut UnboundedReceiver<Report>,
    batch: &mut Vec<Report>,
) {
    let gather = async {
        while batch.len() < MOST && holder.awaits_more() {
            let Some(report) = reports.recv().await else {
                return;
            };
            batch.push(report);
        }
    };
    let _ = timeout(COMPANY, gather).await;
}

/// Hands in the whole batch, and asks for what is wanted next. What is left in the batch is to be tried again.
async fn together<H: Holder>(
    holder: &H,
    session: &Session,
    name: &RequestName,
    batch: &mut Vec<Report>,
) -> Result<(), Error> {
    let wanted = holder.wants(session);
    let request = CompleteMany {
        completions: batch.iter().map(Report::one).collect(),
        claim: wanted.as_ref().map(|wanted| wanted.max),
        ahead: wanted
            .as_ref()
            .and_then(|wanted| (wanted.ahead > 0).then_some(wanted.ahead)),
    };
    let client = holder.client();
    let done = client.complete_named(name, &session.host, &request).await;
    match done {
        Ok(reply) => {
            holder.works();
            if let (Some(wanted), Some(claimed)) = (wanted, reply.claimed) {
                holder.take(session, claimed, wanted).await;
            }
            // What has no answer was not delivered.
            let answered = reply.results.len().min(batch.len());
            for (report, result) in batch.drain(..answered).zip(reply.results) {
                holder.over(&report, result.outcome != Outcome::LeaseLost);
            }
            if answered == 0 {
                // Nor will it be in this way.
                return one_by_one(holder, session, batch).await;
            }
            Ok(())
        }
        // One of them is at fault: alone each is judged by itself.
        Err(error) if is_final(&error) && error.code() != Some(Code::UnknownHost) => {
            one_by_one(holder, session, batch).await
        }
        Err(error) => Err(error),
    }
}

async fn one_by_one<H: Holder>(
    holder: &H,
    session: &Session,
    batch: &mut Vec<Report>,
) -> Result<(), Error> {
    while let Some(report) = batch.first() {
        let job = report.lease.job_id;
        let alone = report.alone(session);
        let done = holder.client().complete_one(job, &alone).await;
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
        holder.works();
        holder.over(&batch.remove(0), kept);
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
