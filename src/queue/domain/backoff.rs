//! How long a failed job waits before its next try.

use std::time::Duration;

/// The wait after the first failure.
pub const FIRST: Duration = Duration::from_secs(5);

/// The longest wait.
pub const LONGEST: Duration = Duration::from_secs(600);

/// A share of a million, drawn when the command was made so that applying it needs no chance.
pub const WHOLE: u32 = 1_000_000;

/// Returns the wait after failure number `failures` (from 1), shortened by up to a quarter.
///
/// `jitter` is in `0..WHOLE`. Jobs that failed together must not come back together.
pub fn wait(failures: u16, jitter: u32) -> Duration {
    let doublings = u32::from(failures.saturating_sub(1)).min(16);
    let full = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let share = u64::from(jitter.min(WHOLE));
    let millis = u64::try_from(full.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis - millis / 4 * share / u64::from(WHOLE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_from_five_seconds_to_ten_minutes() {
        let seconds = |failures| wait(failures, 0).as_secs();
        assert_eq!([1, 2, 3, 4].map(seconds), [5, 10, 20, 40]);
        assert_eq!([8, 9, u16::MAX].map(seconds), [600, 600, 600]);
        assert_eq!(wait(1, WHOLE), Duration::from_millis(3750));
        assert!(wait(1, WHOLE / 2) < wait(1, 0));
    }
}
