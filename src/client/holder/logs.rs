//! Sends what running jobs print.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Notify;

use super::log::{JobLog, Piece, Wake};
use super::{Holder, Report, Session};
use crate::protocol::api::{AppendLogs, LeaseName, LogChunk, LogState, LogWord};
use crate::support::backoff::Backoff;

/// How much goes into one request, in bytes before encoding.
const BATCH: usize = 1024 * 1024;
/// How much of one job goes into one request, so that a noisy one does not keep others waiting.
const SHARE: usize = 256 * 1024;
/// What all jobs together may hold back, shared among the slots,
const TOGETHER: usize = 32 * 1024 * 1024;
/// but one job within these.
const EACH: (usize, usize) = (256 * 1024, 2 * 1024 * 1024);
/// A coordinator that answers and refuses is not asked more often than this.
const TRIES: u32 = 3;

/// The logs of this host's jobs.
pub struct Logs {
    open: Mutex<Vec<Entry>>,
    ready: Arc<Notify>,
    cap: usize,
}

struct Entry {
    log: Arc<JobLog>,
    /// What is to follow the log.
    report: Option<Report>,
}

impl Logs {
    /// Returns those of a host that runs so many jobs at once.
    pub fn new(slots: u16) -> Self {
        let share = TOGETHER / usize::from(slots.max(1));
        Self {
            open: Mutex::default(),
            ready: Arc::default(),
            cap: share.clamp(EACH.0, EACH.1),
        }
    }

    /// Opens the log of a job that begins. `room` is called when there is room again after it was full.
    pub fn open(&self, lease: LeaseName, room: Wake) -> Arc<JobLog> {
        let log = JobLog::new(lease, self.cap, Arc::clone(&self.ready), room);
        let log = Arc::new(log);
        self.entries().push(Entry {
            log: Arc::clone(&log),
            report: None,
        });
        log
    }

    /// Ends the log of a job. Keeps the report until the log is sent, or gives it back if nothing waits.
    pub fn finish(&self, lease: LeaseName, report: Report) -> Option<Report> {
        let mut open = self.entries();
        let Some(at) = open.iter().position(|entry| entry.log.lease == lease) else {
            return Some(report);
        };
        if open.get(at).is_some_and(|entry| entry.log.is_idle()) {
            open.swap_remove(at);
            return Some(report);
        }
        if let Some(entry) = open.get_mut(at) {
            entry.report = Some(report);
        }
        self.ready.notify_one();
        None
    }

    /// Drops the log of a job that was not run after all.
    pub fn discard(&self, lease: LeaseName) {
        let mut open = self.entries();
        if let Some(at) = open.iter().position(|entry| entry.log.lease == lease) {
            open.swap_remove(at).log.close();
        }
    }

    fn take(&self) -> Vec<(Arc<JobLog>, Vec<Piece>)> {
        let mut room = BATCH;
        let mut taken = Vec::new();
        for entry in self.entries().iter() {
            if room == 0 {
                break;
            }
            let pieces = entry.log.take(SHARE.min(room));
            let bytes: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
            room = room.saturating_sub(bytes);
            if !pieces.is_empty() {
                taken.push((Arc::clone(&entry.log), pieces));
            }
        }
        taken
    }

    /// Returns the reports whose logs are sent.
    fn over(&self) -> Vec<Report> {
        let mut open = self.entries();
        let mut over = Vec::new();
        open.retain_mut(|entry| {
            if entry.log.is_idle()
                && let Some(report) = entry.report.take()
            {
                over.push(report);
                return false;
            }
            true
        });
        // Whoever was first should not always be.
        if !open.is_empty() {
            open.rotate_left(1);
        }
        over
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends logs for ever.
pub async fn send_logs<H: Holder>(holder: &H) {
    loop {
        let taken = holder.logs().take();
        if taken.is_empty() {
            for report in holder.logs().over() {
                holder.report(report);
            }
            holder.logs().ready.notified().await;
            continue;
        }
        send(holder, &taken).await;
        for (log, _) in &taken {
            log.delivered();
        }
        for report in holder.logs().over() {
            holder.report(report);
        }
    }
}

/// Returns the logs of which a piece was refused. Answers come in the order of the pieces; by its job alone a
/// log cannot be told from that of another attempt.
fn refused<'t>(
    taken: &'t [(Arc<JobLog>, Vec<Piece>)],
    results: &'t [LogState],
) -> impl Iterator<Item = &'t (Arc<JobLog>, Vec<Piece>)> {
    let mut results = results.iter();
    taken.iter().filter(move |(_, pieces)| {
        let own = results.by_ref().take(pieces.len());
        own.filter(|one| one.state == LogWord::Lost).count() > 0
    })
}

async fn send<H: Holder>(holder: &H, taken: &[(Arc<JobLog>, Vec<Piece>)]) {
    let chunks = taken.iter().flat_map(|(log, pieces)| {
        pieces.iter().map(|piece| LogChunk {
            lease: log.lease,
            stream: piece.stream,
            offset: piece.offset,
            data_b64: STANDARD.encode(&piece.bytes),
        })
    });
    let request = AppendLogs {
        chunks: chunks.collect(),
    };
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut refusals = 0;
    while refusals < TRIES {
        let Session { host, .. } = holder.session().await;
        match holder.client().append_logs(&host, &request).await {
            Ok(reply) => {
                holder.works();
                for (log, _) in refused(taken, &reply.results) {
                    log.close();
                }
                return;
            }
            Err(error) => {
                // Somebody who answers and says no will do so again.
                refusals += u32::from(error.status().is_some_and(|status| status != 503));
                holder.failed(&error);
            }
        }
        backoff.wait().await;
    }
    tracing::warn!("the coordinator does not take a piece of a log");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::api::Stream;
    use crate::protocol::{AttemptNo, JobId, LeaseToken};

    #[test]
    fn a_lost_attempt_does_not_close_the_log_of_the_next() {
        let job = JobId::fresh();
        let logs = Logs::new(2);
        let open = |attempt| {
            let lease = LeaseName {
                job_id: job,
                attempt: AttemptNo::new(attempt),
                lease_token: LeaseToken::NONE,
            };
            logs.open(lease, Box::new(|| {}))
        };
        let piece = |offset| Piece {
            stream: Stream::Stdout,
            offset,
            bytes: vec![b'x'],
        };
        let taken = [
            (open(1), vec![piece(0), piece(1)]),
            (open(2), vec![piece(0)]),
        ];
        let answer = |state| LogState { job_id: job, state };
        let results = [LogWord::Stored, LogWord::Lost, LogWord::Stored].map(answer);
        let lost: Vec<u16> = refused(&taken, &results)
            .map(|(log, _)| log.lease.attempt.get())
            .collect();
        assert_eq!(lost, [1]);
        assert_eq!(refused(&taken, &[]).count(), 0);
    }
}
