//! Sends the output of services to the coordinator, as long as somebody there reads it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::task::{AbortHandle, JoinSet};

use super::Services;
use super::instance::Instance;
use crate::host::core::Core;
use crate::protocol::api::{ServiceOutput, WantedLogs};
use crate::support::backoff::Backoff;

/// How much goes into one request.
const PIECE: usize = 32 << 10;
/// What is printed within this goes together.
const TOGETHER: Duration = Duration::from_millis(20);
/// How often a piece is sent before the reader has to do without.
const TRIES: usize = 5;

/// Serves readers as long as the daemon runs.
pub(super) async fn keep(core: &Arc<Core>, services: &Services) {
    let mut wants = services.wants.subscribe();
    let mut readers: HashMap<String, (u64, AbortHandle)> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let now = wants.borrow_and_update().clone();
        readers.retain(|id, (request, task)| {
            let wanted = now.get(id).is_some_and(|logs| logs.request == *request);
            if !wanted {
                task.abort();
            }
            wanted
        });
        for (id, logs) in now {
            if !readers.contains_key(&id)
                && let Some(instance) = services.readable(&id)
            {
                let reader = Reader {
                    core: Arc::clone(core),
                    instance,
                    logs,
                };
                readers.insert(id, (logs.request, tasks.spawn(reader.serve())));
            }
        }
        loop {
            tokio::select! {
                changed = wants.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
                Some(_) = tasks.join_next() => {}
            }
        }
    }
}

/// One reader at the coordinator.
struct Reader {
    core: Arc<Core>,
    instance: Arc<Instance>,
    logs: WantedLogs,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.instance.output.leave(self.logs.request);
    }
}

impl Reader {
    async fn serve(self) {
        let WantedLogs {
            request,
            tail,
            follow,
        } = self.logs;
        let lines = usize::try_from(tail).unwrap_or(usize::MAX);
        let instance = Arc::clone(&self.instance);
        let read = move || match follow {
            true => instance.output.follow(request, lines),
            false => instance.output.tail(lines),
        };
        let Ok(before) = tokio::task::spawn_blocking(read).await else {
            return;
        };
        if !self.send(&before, !follow).await {
            return;
        }
        while follow && let Some(piece) = self.instance.output.next(request).await {
            if !self.send(&piece.bytes, piece.end).await || piece.end {
                return;
            }
            tokio::time::sleep(TOGETHER).await;
        }
    }

    /// Sends bytes, after which nothing follows if it is the `end`. Returns whether more is wanted.
    async fn send(&self, bytes: &[u8], end: bool) -> bool {
        let mut left = bytes;
        loop {
            let (piece, rest) = left.split_at(left.len().min(PIECE));
            left = rest;
            let last = left.is_empty();
            if (!piece.is_empty() || end) && !self.send_piece(piece, end && last).await {
                return false;
            }
            if last {
                return true;
            }
        }
    }

    async fn send_piece(&self, bytes: &[u8], end: bool) -> bool {
        let output = ServiceOutput {
            assignment_id: self.instance.id.clone(),
            request: self.logs.request,
            data: STANDARD.encode(bytes),
            end,
        };
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
        for _ in 0..TRIES {
            let session = self.core.session().await;
            match self
                .core
                .client
                .send_service_output(&session.host, &output)
                .await
            {
                Ok(more) => return more,
                Err(error) if error.retry_helps() => {
                    tracing::debug!(%error, "cannot send a service's output yet");
                    backoff.wait().await;
                }
                Err(error) => {
                    tracing::debug!(%error, "nobody takes a service's output");
                    return false;
                }
            }
        }
        false
    }
}
