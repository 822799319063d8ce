//! Which services there are, from the coordinators: at once when one of them tells of a change, and every few
//! seconds where none does. While all are away the last list stays.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::gate::Gate;
use super::moment::Moment;
use crate::client::{Client, Error};
use crate::support::backoff::jittered;

/// How much more rarely the list is read while a coordinator tells of changes.
const RARELY: u32 = 10;
/// How long a coordinator that tells of no changes, such as one of the original, is not asked to again.
const DEAF_FOR: Duration = Duration::from_secs(60);

/// Keeps the directory as the coordinators say. Never returns.
pub async fn follow(gate: Arc<Gate>, client: Client) {
    let changed = Arc::new(Notify::new());
    let hears = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let listening = listen(&client, &changed, &hears, gate.settings.refresh);
    let reading = async {
        let mut well = true;
        loop {
            let refresh = gate.settings.refresh;
            let pause = match well && hears.load(std::sync::atomic::Ordering::Relaxed) {
                true => refresh * RARELY,
                false => refresh,
            };
            // What comes before the answer to the last question is there is news again.
            let _ = tokio::time::timeout(jittered(pause), changed.notified()).await;
            let read = read(&gate, &client).await;
            match (&read, well) {
                (Err(error), true) => {
                    tracing::warn!(%error, "no coordinator tells which services there are, the last list stays");
                }
                (Ok(()), false) => {
                    tracing::info!("a coordinator tells again which services there are")
                }
                (_, _) => {}
            }
            well = read.is_ok();
        }
    };
    tokio::join!(listening, reading);
}

/// Reads the list once.
///
/// # Errors
/// When no coordinator gives one; the directory stays as it was.
pub async fn read(gate: &Gate, client: &Client) -> Result<(), Error> {
    let list = client.services().await?;
    gate.directory.update(&list);
    gate.metrics.listed(Moment::now());
    Ok(())
}

async fn listen(
    client: &Client,
    changed: &Notify,
    hears: &std::sync::atomic::AtomicBool,
    refresh: Duration,
) {
    use std::sync::atomic::Ordering;
    loop {
        let pause = match client.service_changes().await {
            Ok(mut changes) => {
                hears.store(true, Ordering::Relaxed);
                // Whatever happened before it listened.
                changed.notify_one();
                while changes.next().await.is_ok() {
                    changed.notify_one();
                }
                refresh
            }
            Err(error) if error.retry_helps() => refresh,
            Err(_) => DEAF_FOR,
        };
        hears.store(false, Ordering::Relaxed);
        // The reader must not go on waiting as if it would hear.
        changed.notify_one();
        tokio::time::sleep(jittered(pause)).await;
    }
}
