//! The limit for a whole connection: one deadline that its phases share.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::ssh::error::{Error, Phase};

/// Runs phases against a deadline they have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limited {
    deadline: Option<Instant>,
    limit: Duration,
}

impl Limited {
    /// Starts to count now; none = no limit.
    pub(super) fn start(limit: Option<Duration>) -> Self {
        Self {
            deadline: limit.map(|limit| Instant::now() + limit),
            limit: limit.unwrap_or_default(),
        }
    }

    /// Moves the deadline by time that was not the server's: we waited for a turn, or for a person.
    pub(super) fn pardon(&mut self, waited: Duration) {
        self.deadline = self.deadline.map(|deadline| deadline + waited);
    }

    /// Runs `work`, which is `phase`.
    pub(super) async fn run<T>(
        &self,
        phase: Phase,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match self.deadline {
            None => work.await,
            Some(deadline) => timeout_at(deadline, work)
                .await
                .unwrap_or(Err(Error::Timeout {
                    phase,
                    limit: self.limit,
                })),
        }
    }
}
