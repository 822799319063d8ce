//! Which way commands go: straight to the writer, or through the log of a cluster first.
//!
//! The way can change while commands come in. None is lost then: what was sent before is done
//! before, and what is sent after waits until the other way is open.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc;

use super::local::{Answer, Local, Posted};
use crate::queue::command::Envelope;
use crate::queue::error::Error;
use crate::queue::store::Applied;

/// How long a command may be on its way through the log.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What is sent through the log.
pub type Proposals = mpsc::UnboundedSender<Posted>;

/// Where commands go.
pub struct Way {
    local: Arc<Local>,
    /// There while there is a log.
    log: RwLock<Option<Proposals>>,
}

impl Way {
    /// Returns the way straight to the writer.
    pub fn new(local: Arc<Local>) -> Self {
        Self {
            local,
            log: RwLock::new(None),
        }
    }

    /// Leads everything from now on through `log`, or straight to the writer.
    pub fn lead(&self, log: Option<Proposals>) {
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = log;
    }

    /// Has a command applied and answers once it is safe.
    ///
    /// # Errors
    /// When the file fails, the writer has ended, or the cluster does not take it.
    pub async fn run(&self, envelope: Envelope) -> Result<Applied, Error> {
        let (posted, answer) = Posted::one(envelope);
        let through = self.post(posted)?;
        answered(answer, through).await
    }

    /// Has two commands applied in one commit, the first one first. Each stands alone.
    pub async fn run_both(&self, first: Envelope, second: Envelope) -> [Result<Applied, Error>; 2] {
        let (posted, [one, other]) = Posted::two(first, second);
        match self.post(posted) {
            Ok(through) => {
                let (one, other) = tokio::join!(answered(one, through), answered(other, through));
                [one, other]
            }
            Err(error) => [Err(error.clone()), Err(error)],
        }
    }

    fn post(&self, posted: Posted) -> Result<Through, Error> {
        // Held while sending: the order of commands is that of the ways.
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        match &*log {
            None => self.local.post(posted).map(|()| Through::Writer),
            Some(log) => {
                let sent = log.send(posted).map_err(|_| Error::Closed);
                sent.map(|()| Through::Log)
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Through {
    Writer,
    Log,
}

async fn answered(answer: Answer, through: Through) -> Result<Applied, Error> {
    match through {
        Through::Writer => answer.await.unwrap_or(Err(Error::Closed)),
        Through::Log => match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.unwrap_or(Err(Error::Closed)),
            Err(_) => Err(Error::NoQuorum(format!(
                "no answer in {} s; whether the command was applied is not known",
                PATIENCE.as_secs()
            ))),
        },
    }
}
