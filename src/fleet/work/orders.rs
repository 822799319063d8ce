//! What is wanted of a running job: that it ends, and until when it may run at all.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::client::holder::{Stop, Stoppable};
use crate::support::clock::Timestamp;
use crate::support::shutdown::{self, Cause, Shutdown, Trigger, Urgency};

/// The orders for one attempt.
#[derive(Debug)]
pub(super) struct Orders {
    state: Mutex<State>,
    trigger: Trigger,
    hears: Shutdown,
    /// How long it may tidy up, where whoever cancels it says so.
    patience: watch::Sender<Option<Duration>>,
}

#[derive(Debug, Default)]
struct State {
    stop: Option<Stop>,
    until: Option<Timestamp>,
}

impl Orders {
    /// Returns orders to run until `until` by the steady clock, or without limit.
    pub(super) fn new(until: Option<Timestamp>) -> Self {
        let (trigger, hears) = shutdown::manual();
        Self {
            state: Mutex::new(State { stop: None, until }),
            trigger,
            hears,
            patience: watch::Sender::new(None),
        }
    }

    /// Returns what the job listens to.
    pub(super) fn hears(&self) -> Shutdown {
        self.hears.clone()
    }

    /// Returns why it is to end, if it is.
    pub(super) fn why(&self) -> Option<Stop> {
        self.state().stop.clone()
    }

    /// Ends the job if its lease may not be trusted any more.
    pub(super) fn look(&self, now: Timestamp) {
        if self.state().until.is_some_and(|until| until <= now) {
            self.stop(Stop::Lost);
        }
    }

    /// Ends it for good when the time is over that a cancel leaves it. Never returns.
    pub(super) async fn hurry(&self) {
        let mut patience = self.patience.subscribe();
        let given = patience.wait_for(Option::is_some).await;
        // Its sender lives as long as we do.
        let given = given.ok().and_then(|given| *given).unwrap_or_default();
        tokio::time::sleep(given).await;
        self.ask(Urgency::Now);
        std::future::pending().await
    }

    fn ask(&self, wanted: Urgency) {
        while self.hears.urgency() < wanted {
            self.trigger.ask(Cause::Terminate);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stoppable for Orders {
    fn stop(&self, why: Stop) {
        let mut state = self.state();
        if state.stop.as_ref().is_some_and(|known| *known >= why) {
            return;
        }
        state.stop = Some(why.clone());
        drop(state);
        match why {
            Stop::Cancel(_, patience) => {
                if patience.is_some() {
                    self.patience.send_replace(patience);
                }
                self.ask(Urgency::Stop);
            }
            Stop::Owner | Stop::Drain => self.ask(Urgency::Stop),
            Stop::Now | Stop::Lost => self.ask(Urgency::Now),
        }
    }

    fn prolong(&self, until: Option<Timestamp>) {
        self.state().until = until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cancel_asks_and_a_lost_lease_kills() {
        let orders = Orders::new(Some(Timestamp::from_millis(100)));
        orders.look(Timestamp::from_millis(99));
        assert_eq!(orders.hears().urgency(), Urgency::Running);
        orders.stop(Stop::Cancel(Some("enough".into()), None));
        orders.stop(Stop::Cancel(None, None));
        assert_eq!(orders.hears().urgency(), Urgency::Stop);
        orders.prolong(Some(Timestamp::from_millis(200)));
        orders.look(Timestamp::from_millis(150));
        assert_eq!(orders.hears().urgency(), Urgency::Stop);
        orders.look(Timestamp::from_millis(200));
        assert_eq!(orders.hears().urgency(), Urgency::Now);
        assert_eq!(orders.why(), Some(Stop::Lost));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancel_may_leave_less_time_than_usual() {
        let orders = Orders::new(None);
        orders.stop(Stop::Cancel(None, Some(Duration::from_millis(500))));
        let mut hears = orders.hears();
        tokio::select! {
            () = orders.hurry() => unreachable!("it never returns"),
            () = hears.reached(Urgency::Now) => {}
        }
    }
}
