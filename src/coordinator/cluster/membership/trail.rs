//! How far members are behind in time: which entry the log ended with, and when.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How many points are remembered. At one a second that is ten minutes; whoever is further behind is ten minutes behind.
const POINTS: usize = 600;

/// When the log ended where.
#[derive(Debug, Default)]
pub struct Trail(VecDeque<(Instant, u64)>);

impl Trail {
    /// Takes note that the log ends with entry `last` now.
    pub fn note(&mut self, last: u64, now: Instant) {
        if self.0.back().is_some_and(|(_, known)| *known == last) {
            return;
        }
        if self.0.len() >= POINTS {
            self.0.pop_front();
        }
        self.0.push_back((now, last));
    }

    /// Returns for how long somebody who has everything up to entry `has` has been without the next one.
    pub fn behind(&self, has: u64, now: Instant) -> Duration {
        let missing = self.0.iter().find(|(_, last)| *last > has);
        missing.map_or(Duration::ZERO, |(at, _)| now.duration_since(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_is_counted_from_the_first_entry_that_is_missing() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut trail = Trail::default();
        for (second, last) in [(0, 10), (1, 10), (2, 15), (5, 20)] {
            trail.note(last, at(second));
        }
        let behind = |has| trail.behind(has, at(6)).as_secs();
        assert_eq!(
            [
                behind(20),
                behind(19),
                behind(15),
                behind(14),
                behind(10),
                behind(9)
            ],
            [0, 1, 1, 4, 4, 6]
        );
        for last in 21..2000 {
            trail.note(last, at(7));
        }
        assert_eq!(trail.0.len(), POINTS);
    }
}
