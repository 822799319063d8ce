//! Waiting for a condition with a deadline. The only place of the harness that sleeps.

use std::time::{Duration, Instant};

/// Short enough not to slow a test, long enough to leave the cores to what is waited for.
const POLL: Duration = Duration::from_millis(10);

/// Returns whether the condition came true before the deadline passed.
pub fn holds_within(deadline: Duration, mut cond: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if cond() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// Waits until the condition is true; panics at the caller's line when the deadline passes first.
#[track_caller]
pub fn eventually(deadline: Duration, cond: impl FnMut() -> bool) {
    assert!(
        holds_within(deadline, cond),
        "condition still false after {deadline:?}"
    );
}
