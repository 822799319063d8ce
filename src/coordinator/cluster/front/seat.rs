//! Follows who leads the cluster: opens this coordinator's office when that is itself, and ends it when it is no more.
//!
//! An office is opened by right of one term. Whoever led in two terms may not have led in between, so it is made anew
//! for the second one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::coordinator::cluster::Links;
use crate::coordinator::front::Front;
use crate::coordinator::office::Office;
use crate::queue::Error;
use crate::queue::cluster::{Cluster, FIRST_TERM, Role, Status};
use crate::support::chain::chain;

/// After an office could not be opened.
const AGAIN: Duration = Duration::from_millis(250);
/// How long the others may take to confirm that this is the leader.
const CONFIRM_WITHIN: Duration = Duration::from_secs(2);
/// How often that is asked while nobody else asks.
const LOOK: Duration = Duration::from_secs(1);
/// A leader that was not confirmed for so long serves no more: whoever waits at it may find work with its successor.
const CUT_OFF: Duration = Duration::from_secs(5);
/// How long a leader of the past may take to answer what it was asked before.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// What the seat asks of the cluster.
pub trait Leadership: Send + Sync + 'static {
    /// Returns a look at who leads.
    fn watch(&self) -> watch::Receiver<Status>;
    /// Makes sure that this leads.
    fn confirm(&self) -> BoxFuture<'_, Result<(), Error>>;
}

impl Leadership for Cluster {
    fn watch(&self) -> watch::Receiver<Status> {
        Self::watch(self)
    }

    fn confirm(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(Self::confirm(self))
    }
}

/// By what right an office is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// There are no others.
    Alone,
    /// As the leader of this term.
    Term(u64),
}

impl Right {
    fn of(status: &Status) -> Option<Self> {
        match status.role {
            Role::Lone => Some(Self::Alone),
            Role::Leader => Some(Self::Term(status.term)),
            Role::Waiting | Role::Learner | Role::Follower | Role::Candidate => None,
        }
    }

    /// Tells whether an office that was opened by this right may go on as it is.
    fn holds(self, status: &Status) -> bool {
        Self::of(status) == Some(self) || self == Self::Alone && is_founding(status)
    }
}

/// Tells whether this coordinator has just founded a cluster: nobody else can have led. Others may vote by now, if this
/// is looked at late.
fn is_founding(status: &Status) -> bool {
    let first = status.role == Role::Leader && status.term <= FIRST_TERM;
    first || status.role != Role::Waiting && status.voters().all(|voter| voter == status.id)
}

/// Keeps the office of `front` as the cluster wants it, for ever.
pub async fn run(front: Arc<Front>, cluster: impl Leadership) {
    let mut seat = Seat {
        status: cluster.watch(),
        held: front.office().map(|_| Right::Alone),
        front,
        cluster,
    };
    loop {
        seat.settle().await;
        tokio::select! {
            changed = seat.status.changed() => if changed.is_err() {
                // The cluster is gone, and with it whatever could be served: others see to that.
                return;
            },
            () = cut_off(&seat.cluster), if matches!(seat.held, Some(Right::Term(_))) => {
                tracing::warn!("the other members do not answer: nothing is served until they do");
                seat.leave().await;
            }
        }
    }
}

struct Seat<L> {
    front: Arc<Front>,
    cluster: L,
    status: watch::Receiver<Status>,
    held: Option<Right>,
}

impl<L: Leadership> Seat<L> {
    /// Opens and ends offices until nothing is to be done.
    async fn settle(&mut self) {
        loop {
            let (wanted, holds) = {
                let status = self.status.borrow_and_update();
                let holds = self.held.is_some_and(|right| right.holds(&status));
                (Right::of(&status), holds)
            };
            if holds {
                // Alone before, and now the leader of those who join.
                self.held = wanted.or(self.held);
                return;
            }
            self.leave().await;
            match wanted {
                None => return,
                Some(right) => self.take(right).await,
            }
        }
    }

    /// Ends the office, if one is open.
    async fn leave(&mut self) {
        self.held = None;
        if let Some(office) = self.front.vacate() {
            tracing::info!("this coordinator does not lead any more");
            office.close();
            office.end().await;
        }
    }

    /// Opens an office, unless the right to it is lost before that is done.
    async fn take(&mut self, right: Right) {
        let mut status = self.status.clone();
        let lost = status.wait_for(|status| Right::of(status) != Some(right));
        let opened = tokio::select! {
            biased;
            _ = lost => return,
            opened = self.open() => opened,
        };
        if let Right::Term(term) = right {
            tracing::info!(term, "this coordinator leads");
        }
        self.front.occupy(opened);
        self.held = Some(right);
    }

    /// Makes an office of what the cluster has agreed on. Tries until that works: others may lead meanwhile.
    async fn open(&self) -> Arc<Office> {
        let mut said = None;
        loop {
            let opened = async {
                confirmed(&self.cluster).await?;
                self.front.means().load().await
            };
            match opened.await {
                Ok(office) => return Arc::new(office),
                Err(error) => {
                    let text = chain(&error);
                    // The same reason is news once.
                    if said.as_ref() != Some(&text) {
                        tracing::warn!(error = text, "this coordinator leads and cannot serve yet");
                    }
                    said = Some(text);
                    sleep(AGAIN).await;
                }
            }
        }
    }
}

/// Makes sure that this leads, within a time.
///
/// # Errors
/// When it does not, or too few of the others answer.
pub async fn confirmed(cluster: &impl Leadership) -> Result<(), Error> {
    let confirmed = timeout(CONFIRM_WITHIN, cluster.confirm()).await;
    confirmed.unwrap_or_else(|_| Err(Error::NoQuorum("not in time".to_owned())))
}

/// Returns once nobody has confirmed for a while that this leads.
async fn cut_off(cluster: &impl Leadership) {
    let mut since = tokio::time::Instant::now();
    loop {
        sleep(LOOK).await;
        if confirmed(cluster).await.is_ok() {
            since = tokio::time::Instant::now();
        } else if since.elapsed() >= CUT_OFF {
            return;
        }
    }
}

/// Cuts off what is under way to leaders of the past, for ever. One that is alive ends it by itself; one that cannot be
/// reached would leave its callers waiting.
pub async fn let_go(mut status: watch::Receiver<Status>, links: Links) {
    let mut last = None;
    loop {
        let now = status.borrow_and_update().leader;
        if let Some(former) = last.filter(|last| Some(*last) != now) {
            let back = status.wait_for(|status| status.leader == Some(former));
            if timeout(LAST_ANSWERS, back).await.is_err() {
                links.cut(former);
                last = None;
            }
            continue;
        }
        last = now;
        if status.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[path = "seat_tests.rs"]
mod tests;
