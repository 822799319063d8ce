//! How much of the memory one host may take with what it sends over its tunnel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::body::LARGE;
use super::error::Refused;
use crate::protocol::api::Code;

/// What the bodies of one host may hold together: two of the longest.
const MOST: usize = 2 * LARGE;
/// How long a body waits for others of the same host. They may take longer, but those that wait are read by nobody.
const PATIENCE: Duration = Duration::from_secs(30);

/// What hosts have taken. There are no more names than the fleet file ever had.
#[derive(Debug, Default)]
pub struct Shares(Mutex<HashMap<String, Arc<Semaphore>>>);

/// Room for one body, for as long as it lives.
#[derive(Debug)]
pub struct Share(OwnedSemaphorePermit);

impl Shares {
    /// Waits for room for `bytes` of the host called `name`.
    ///
    /// # Errors
    /// When its other bodies leave none for too long.
    pub async fn take(&self, name: &str, bytes: usize) -> Result<Share, Refused> {
        let share = {
            let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let share = hosts
                .entry(name.to_owned())
                .or_insert_with(|| Arc::new(Semaphore::new(MOST)));
            Arc::clone(share)
        };
        let wanted = u32::try_from(bytes.min(MOST)).unwrap_or(u32::MAX);
        match timeout(PATIENCE, share.acquire_many_owned(wanted)).await {
            Ok(Ok(permit)) => Ok(Share(permit)),
            Ok(Err(_)) | Err(_) => {
                let text = "too many long requests of this host at once";
                Err(Refused::new(Code::TooMany, text)
                    .retry_after(Duration::from_secs(1))
                    .closing())
            }
        }
    }
}

impl Share {
    /// Gives back what is not needed: the body came to `bytes`.
    pub fn keep(&mut self, bytes: usize) {
        let unused = self.0.num_permits().saturating_sub(bytes);
        drop(self.0.split(unused));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_host_has_so_much_and_others_are_not_touched() {
        let shares = Shares::default();
        let mut first = shares.take("a", LARGE).await.unwrap();
        let second = shares.take("a", LARGE).await.unwrap();
        assert!(shares.take("a", 1).await.is_err());
        let _other = shares.take("b", LARGE).await.unwrap();
        // What is known to be short takes no more than it is.
        first.keep(10);
        let third = shares.take("a", LARGE - 10).await.unwrap();
        assert!(shares.take("a", 1).await.is_err());
        drop((first, second, third));
        shares.take("a", MOST).await.unwrap();
    }
}
