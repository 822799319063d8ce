//! An answer that goes on for as long as it is read, and how it is noticed that nobody is there any more to go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Response;

use super::Shared;
use super::address::Reach;
use super::ask::Ask;

/// Without a sign of life for this long the connection is given up. Coordinators send one every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// If there is another coordinator to ask, one that said nothing for so long is asked whether it is there.
const QUIET: Duration = Duration::from_secs(10);
/// How long it may take to say so.
const HEALTH: Duration = Duration::from_secs(5);

/// An answer of which the head is there.
#[derive(Debug)]
pub(super) struct Opened {
    shared: Arc<Shared>,
    reach: Arc<Reach>,
    response: Response,
}

impl Opened {
    pub(super) fn new(shared: Arc<Shared>, reach: Arc<Reach>, response: Response) -> Self {
        Self {
            shared,
            reach,
            response,
        }
    }

    /// Returns who answers.
    pub(super) fn url(&self) -> &str {
        &self.reach.shown
    }

    /// Returns what comes next; nothing at the end. Safe to be dropped and called again.
    ///
    /// # Errors
    /// Why nothing comes any more.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        tokio::select! {
            biased;
            read = tokio::time::timeout(SILENCE, self.response.chunk()) => match read {
                Ok(Ok(bytes)) => {
                    self.reach.heard();
                    Ok(bytes)
                }
                Ok(Err(error)) => Err(error.without_url().to_string()),
                Err(_) => Err(format!("silent for {}s", SILENCE.as_secs())),
            },
            cause = self.shared.falls_silent(&self.reach) => {
                self.shared.members.doubt(&self.reach);
                Err(cause)
            }
        }
    }
}

impl Shared {
    /// Waits until this coordinator is known to be silent while there is another to ask: somebody else waited for it
    /// in vain, or it does not even say that it is there. A machine that is frozen or cut off breaks no connection.
    pub(super) async fn falls_silent(&self, reach: &Reach) -> String {
        loop {
            tokio::select! {
                () = reach.silent.notified() => {
                    if self.members.are_several() {
                        return "it does not answer others".to_owned();
                    }
                }
                () = tokio::time::sleep(QUIET) => {
                    let asks = self.members.are_several() && !reach.heard_within(QUIET);
                    if asks && !self.is_there(reach).await {
                        return format!("silent for {}s", QUIET.as_secs());
                    }
                }
            }
        }
    }

    async fn is_there(&self, reach: &Reach) -> bool {
        let ask = Ask::get(["health"]);
        // Whatever it says, it says something.
        let head = |_| async { Ok(()) };
        let asking = self.once(&ask, reach, Instant::now(), &head);
        matches!(tokio::time::timeout(HEALTH, asking).await, Ok(Ok(_)))
    }
}
