//! Which services there are, from the coordinators: at once when one of them tells of a change, and every few
//! seconds where none does. While all are away the last list stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::gate::Gate;
use super::moment::Moment;
use crate::client::{Client, Error, JobEvent};
use crate::protocol::api::Event;
use crate::support::backoff::jittered;

/// How much more rarely the list is read while a coordinator tells of changes.
const RARELY: u32 = 10;
/// How long a coordinator that tells of no changes, such as one of the original, is not asked to again.
const DEAF_FOR: Duration = Duration::from_secs(60);
/// Changes come in swarms, and one reading does for all of them.
const SWARM: Duration = Duration::from_millis(20);

/// Keeps the directory as the coordinators say. Never returns.
pub async fn follow(gate: Arc<Gate>, client: Client) {
    let news = News::default();
    tokio::join!(
        news.listen(&client, gate.settings.refresh),
        news.read(&gate, &client)
    );
}

/// Reads the list once.
///
/// # Errors
/// When no coordinator gives one; the directory stays as it was.
pub async fn read(gate: &Gate, client: &Client) -> Result<(), Error> {
    let list = client.services().await?;
    gate.directory.update(&list);
    if let Some(cache) = &gate.cache {
        cache.save(&list);
    }
    gate.metrics.listed(Moment::now());
    Ok(())
}

/// What the listener tells the reader.
#[derive(Default)]
struct News {
    /// The list may have changed.
    stirred: Notify,
    /// A coordinator would tell.
    hears: AtomicBool,
}

impl News {
    async fn read(&self, gate: &Gate, client: &Client) {
        let refresh = gate.settings.refresh;
        let mut well = true;
        loop {
            let pause = match well && self.hears.load(Ordering::Relaxed) {
                true => refresh * RARELY,
                false => refresh,
            };
            let stirred = tokio::time::timeout(jittered(pause), self.stirred.notified());
            if stirred.await.is_ok() {
                tokio::time::sleep(SWARM).await;
            }
            let done = read(gate, client).await;
            match (&done, well) {
                (Err(error), true) => {
                    tracing::warn!(%error, "no coordinator tells which services there are, the last list stays");
                }
                (Ok(()), false) => {
                    tracing::info!("a coordinator tells again which services there are");
                }
                (_, _) => {}
            }
            well = done.is_ok();
        }
    }

    async fn listen(&self, client: &Client, refresh: Duration) {
        loop {
            let pause = match client.service_changes().await {
                Ok(mut events) => {
                    self.hears.store(true, Ordering::Relaxed);
                    // Whatever happened before it listened.
                    self.stirred.notify_one();
                    while let Ok(JobEvent { event, .. }) = events.next().await {
                        // Older coordinators tell of everything.
                        if matches!(event, Event::ServiceChanged { .. } | Event::Gap { .. }) {
                            self.stirred.notify_one();
                        }
                    }
                    refresh
                }
                Err(error) if error.retry_helps() => refresh,
                Err(_) => DEAF_FOR,
            };
            self.hears.store(false, Ordering::Relaxed);
            // The reader must not go on waiting as if it would hear.
            self.stirred.notify_one();
            tokio::time::sleep(jittered(pause)).await;
        }
    }
}
