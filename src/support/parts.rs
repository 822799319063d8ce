//! Parts of a program that only serves as long as all of them work: a part that panics is noticed, never mourned alone.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::watch;

/// Watches over parts. Clones watch together.
#[derive(Debug, Clone)]
pub struct Parts(Arc<watch::Sender<Option<&'static str>>>);

impl Default for Parts {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Parts {
    /// Returns the task of a part, to be run by the caller. Its end is nobody's concern, its panic is everybody's.
    pub fn watched<T: Future<Output = ()> + Send>(
        &self,
        part: &'static str,
        task: T,
    ) -> impl Future<Output = ()> + Send + use<T> {
        let failed = Arc::clone(&self.0);
        async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                // What it panicked with was said where it did.
                tracing::error!(part, "a part of this program has failed");
                // The first one tells most.
                failed.send_if_modified(|known| {
                    let first = known.is_none();
                    known.get_or_insert(part);
                    first
                });
            }
        }
    }

    /// Waits until a part has panicked. Returns which; if there are more, the first.
    pub async fn failed(&self) -> &'static str {
        let mut failed = self.0.subscribe();
        loop {
            if let Some(part) = *failed.borrow_and_update() {
                return part;
            }
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_noticed_and_an_end_is_not() {
        let parts = Parts::default();
        parts.watched("sound", async {}).await;
        assert_eq!(parts.failed().now_or_never(), None);
        for part in ["first", "second"] {
            let task = parts.watched(part, async { panic!("on purpose") });
            tokio::spawn(task).await.unwrap();
        }
        assert_eq!(parts.failed().await, "first");
        assert_eq!(parts.clone().failed().await, "first");
    }
}
