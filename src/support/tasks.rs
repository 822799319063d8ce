//! Waits for tasks that were started together.

use tokio::task::JoinSet;

/// Waits for all tasks of `set` and hands each result to `done`, in the order of their ends.
///
/// # Panics
/// When a task did: a panic must be seen, not turned into a missing result.
pub async fn finish<T: 'static>(set: &mut JoinSet<T>, mut done: impl FnMut(T)) {
    while let Some(joined) = set.join_next().await {
        match joined {
            Ok(result) => done(result),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Aborted: nobody waits for its result.
            Err(_) => {}
        }
    }
}
