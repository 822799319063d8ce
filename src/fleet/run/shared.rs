//! What the workers of a run share: what is left to do, and the way by which results go.

use std::sync::{Arc, PoisonError};

use tokio::time::Instant;

use super::{Run, RunEvent, Unit};
use crate::fleet::file::Host;
use crate::fleet::report::{self, Status, TaskReport, signal_number};
use crate::protocol::{JobId, JobResult, Output};
use crate::queue::{Cancel, Claimed, Report, Verdict};
use crate::support::shutdown::{Shutdown, Urgency};

impl Run {
    pub(super) fn is_done(&self) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.len() == self.plan.units.len()
    }

    pub(super) fn has_work_for(&self, at: usize) -> bool {
        !self.is_out(at) && self.has_open_work_for(at)
    }

    /// Tells whether something is left that this host could run.
    pub(in crate::fleet) fn has_open_work_for(&self, at: usize) -> bool {
        self.open_units()
            .into_iter()
            .filter_map(|open| self.plan.units.get(open))
            .any(|unit| unit.host.is_none_or(|host| host == at))
    }

    /// Keeps the first failure of the queue for the end of the run.
    pub(in crate::fleet) fn fail(&self, error: crate::queue::Error) {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    }

    pub(in crate::fleet) async fn tell(&self, event: RunEvent) {
        // Nobody listens any more only when the user left at once; the queue has the results.
        let _ = self.events.send(event).await;
    }

    /// Reports a unit: to the queue first, so that what is shown is also on disk.
    pub(in crate::fleet) async fn finish(
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

    pub(in crate::fleet) fn is_out(&self, at: usize) -> bool {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.contains(&at)
    }

    /// Says once that a host is of no more use.
    pub(in crate::fleet) async fn host_down(&self, at: usize, verdict: report::Verdict) {
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

    pub(super) async fn end(&self, job: JobId, report: TaskReport) {
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
    pub(super) async fn end_leftovers(&self, shutdown: &Shutdown) {
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
    pub(in crate::fleet) fn why_not_started(&self, shutdown: &Shutdown) -> (Status, &'static str) {
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
    pub(in crate::fleet) fn report(
        &self,
        unit: &Unit,
        host: Option<&Host>,
        judged: report::Verdict,
    ) -> TaskReport {
        let host = host.map(|host| host.name.clone());
        TaskReport::without_output(host, unit.task, unit.job, judged, self.means.clock.now())
    }
}
