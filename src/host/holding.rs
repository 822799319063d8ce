//! The daemon as a holder of leases: what it hands in, and what it takes along with the answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::core::Core;
use super::notice::Notice;
use super::{ahead, begin, results};
use crate::client::holder::{Holder, Logs, Report, Session, Wanted, key};
use crate::client::{Client, Error};
use crate::protocol::api::ClaimedMany;

impl Holder for Arc<Core> {
    fn client(&self) -> &Client {
        &self.client
    }

    fn logs(&self) -> &Logs {
        &self.logs
    }

    async fn session(&self) -> Session {
        Core::session(self).await
    }

    fn works(&self) {
        Core::works(self);
    }

    fn failed(&self, error: &Error) {
        Core::failed(self, error);
    }

    fn report(&self, report: Report) {
        Core::report(self, report);
    }

    fn over(&self, report: &Report, kept: bool) {
        let (job, attempt) = key(&report.lease);
        Core::over(self, (job, attempt));
        results::forget(self, &report.lease);
        self.tell(if kept {
            Notice::Completed {
                job,
                attempt,
                ok: report.success,
            }
        } else {
            Notice::LeaseLost { job, attempt }
        });
    }

    fn awaits_more(&self) -> bool {
        // With half of the slots at work the machine is busy meanwhile.
        self.runner.free() * 2 < usize::from(self.settings.max_parallel) && self.takes_work()
    }

    async fn gather(&self) -> bool {
        ahead::gather(self).await
    }

    fn wants(&self, session: &Session) -> Option<Wanted<'_>> {
        if !session.exchange || !self.takes_work() {
            return None;
        }
        // Who waits for work already has asked for these slots.
        let asking = self.asking.try_lock().ok()?;
        let max = u16::try_from(self.runner.free()).unwrap_or(u16::MAX);
        let ahead = match session.ahead && self.pace.is_short() {
            true => u16::try_from(self.runner.room()).unwrap_or(u16::MAX),
            false => 0,
        };
        (max > 0 || ahead > 0).then(|| Wanted {
            max,
            ahead,
            sent_at: self.steady.now(),
            asking,
        })
    }

    async fn take(&self, session: &Session, claimed: ClaimedMany, wanted: Wanted<'_>) {
        begin::take(self, session, claimed, wanted.sent_at).await;
    }

    fn handed_in(&self, well: bool, all: bool) {
        self.stuck.store(!well, Ordering::Relaxed);
        if !well || all && self.runner.free() > 0 {
            self.vacant.notify_one();
        }
    }
}
