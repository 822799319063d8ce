//! How long something may wait without anything moving. Costs nothing while things move.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// What is asked for beyond that is as good as this, and can be counted with.
pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// The clock of one direction.
#[derive(Debug)]
pub struct Stall {
    most: Duration,
    /// Since when nothing moved, if it is waited for.
    since: Option<Instant>,
    /// Kept from one wait to the next and set anew only when it rings.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    /// Returns a clock that rings after `most` of waiting.
    pub fn new(most: Duration) -> Self {
        Self {
            most: most.min(LONGEST),
            since: None,
            alarm: None,
        }
    }

    /// Takes note that something moved.
    pub fn moved(&mut self) {
        self.since = None;
    }

    /// Returns for how long nothing has moved, if that is waited for.
    pub fn lasts(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// To be asked whenever something must be waited for; ready when that has been too long.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_within(context, LONGEST)
    }

    /// The same, if this wait may not be as long as others.
    pub fn poll_within(&mut self, context: &mut Context<'_>, most: Duration) -> Poll<()> {
        let now = Instant::now();
        let end = *self.since.get_or_insert(now) + self.most.min(most);
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if alarm.deadline() > end {
            alarm.as_mut().reset(end);
        }
        while alarm.as_mut().poll(context).is_ready() {
            if now >= end {
                return Poll::Ready(());
            }
            // It was set for an earlier wait.
            alarm.as_mut().reset(end);
        }
        Poll::Pending
    }
}
