//! What ends the engine for good: the first fault is remembered, and everybody who waits for one learns it.

use openraft::{AnyError, StorageIOError};
use tokio::sync::watch;

use super::types::StorageError;
use crate::queue::error::Error;
use crate::support::chain::chain;

/// The first fault, once there is one. Cheap to clone.
#[derive(Clone)]
pub struct Fault(watch::Sender<Option<String>>);

impl Fault {
    /// Returns one that has not happened.
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Says what went wrong, if nothing did before.
    pub fn report(&self, why: String) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                tracing::error!(why, "the cluster engine ended");
                *first = Some(why);
            }
            is_first
        });
    }

    /// Returns what went wrong, if anything did.
    pub fn get(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits until something goes wrong.
    pub async fn happened(&self) -> String {
        let mut seen = self.0.subscribe();
        let why = seen.wait_for(Option::is_some).await;
        match why.ok().and_then(|why| why.clone()) {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }

    /// Reports what happened to the queue's file and tells openraft.
    pub fn of_state(&self, error: &Error) -> StorageError {
        self.report(chain(error));
        StorageIOError::write_state_machine(AnyError::error(chain(error))).into()
    }

    /// Reports what happened to the log and tells openraft.
    pub fn of_log(&self, error: &Error) -> StorageError {
        self.report(chain(error));
        StorageIOError::write_logs(AnyError::error(chain(error))).into()
    }
}
