//! When a service's process is started again after it ended. Decides only; starts nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::protocol::api::Restart;

/// The spans that the decision goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The pause after a first end.
    pub first: Duration,
    /// The pause doubles up to this.
    pub most: Duration,
    /// Who was ready for so long has had no trouble before.
    pub healthy: Duration,
    /// So many ends
    pub crashes: usize,
    /// within this are a crash loop,
    pub within: Duration,
    /// in which this is the pause.
    pub loop_pause: Duration,
}

impl Rules {
    /// What holds unless a test wants it faster.
    pub(super) const USUAL: Self = Self {
        first: Duration::from_secs(1),
        most: Duration::from_secs(60),
        healthy: Duration::from_secs(60),
        crashes: 5,
        within: Duration::from_secs(5 * 60),
        loop_pause: Duration::from_secs(60),
    };
}

/// What is remembered of former ends.
#[derive(Debug, Default)]
pub(super) struct History {
    /// How often it was started again in a row.
    pub restarts: u32,
    ends: VecDeque<Instant>,
}

/// One end of the process.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// It exited with 0.
    pub well: bool,
    /// How long it was ready before.
    pub ready_for: Duration,
    pub at: Instant,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is started again after this pause.
    Again { pause: Duration, crash_loop: bool },
    /// Nobody starts it again: it did what it should, or did not.
    Over { well: bool },
}

/// Returns what follows an end, and remembers it.
pub(super) fn after(history: &mut History, policy: Restart, end: End, rules: &Rules) -> Next {
    let over = match policy {
        Restart::Always => false,
        Restart::OnFailure => end.well,
        Restart::Never => true,
    };
    if over {
        return Next::Over { well: end.well };
    }
    if end.ready_for >= rules.healthy {
        *history = History::default();
    }
    history.ends.push_back(end.at);
    while history
        .ends
        .front()
        .is_some_and(|at| end.at.saturating_duration_since(*at) > rules.within)
    {
        history.ends.pop_front();
    }
    let doublings = history.restarts.min(16);
    history.restarts = history.restarts.saturating_add(1);
    let crash_loop = history.ends.len() >= rules.crashes;
    let pause = if crash_loop {
        rules.loop_pause
    } else {
        rules.first.saturating_mul(1 << doublings).min(rules.most)
    };
    Next::Again { pause, crash_loop }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_policy_says_whether_at_all() {
        let at = Instant::now();
        let table = [
            (Restart::Always, true, true),
            (Restart::Always, false, true),
            (Restart::OnFailure, true, false),
            (Restart::OnFailure, false, true),
            (Restart::Never, true, false),
            (Restart::Never, false, false),
        ];
        for (policy, well, again) in table {
            let end = End {
                well,
                ready_for: Duration::ZERO,
                at,
            };
            let next = after(&mut History::default(), policy, end, &Rules::USUAL);
            let expected = if again {
                Next::Again {
                    pause: SECOND,
                    crash_loop: false,
                }
            } else {
                Next::Over { well }
            };
            assert_eq!(next, expected, "{policy:?} {well}");
        }
    }

    /// Ends, each so many seconds after the one before, having been ready for so many, and what follows:
    /// the pause in seconds and whether it is a crash loop.
    fn follow(ends: &[(u64, u64, u64, bool)]) {
        let mut history = History::default();
        let mut at = Instant::now();
        for (number, (later, ready, pause, crash_loop)) in ends.iter().enumerate() {
            at += SECOND * u32::try_from(*later).unwrap();
            let end = End {
                well: false,
                ready_for: Duration::from_secs(*ready),
                at,
            };
            let next = after(&mut history, Restart::Always, end, &Rules::USUAL);
            let expected = Next::Again {
                pause: Duration::from_secs(*pause),
                crash_loop: *crash_loop,
            };
            assert_eq!(next, expected, "end {number} of {ends:?}");
        }
    }

    #[test]
    fn pauses_double_and_many_ends_in_a_short_time_are_a_crash_loop() {
        follow(&[
            (0, 0, 1, false),
            (1, 0, 2, false),
            (2, 0, 4, false),
            (4, 0, 8, false),
            (8, 0, 60, true),
            (60, 0, 60, true),
            (60, 0, 60, true),
        ]);
    }

    #[test]
    fn who_was_healthy_begins_anew() {
        follow(&[
            (0, 0, 1, false),
            (1, 0, 2, false),
            (2, 59, 4, false),
            (4, 60, 1, false),
            (1, 0, 2, false),
        ]);
    }

    #[test]
    fn rare_ends_are_no_crash_loop_and_pauses_have_a_limit() {
        // Never four others within five minutes, never a minute of health.
        follow(&[
            (0, 0, 1, false),
            (100, 30, 2, false),
            (100, 30, 4, false),
            (100, 30, 8, false),
            (100, 30, 16, false),
            (100, 30, 32, false),
            (100, 30, 60, false),
            (100, 30, 60, false),
        ]);
    }
}
