//! What happened to the requests of one service, counted by each thread on lines of its own.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How many threads count without meeting another; more of them share.
const LANES: usize = 8;

/// Upper ends of the histogram's buckets, in microseconds; what is longer goes to one more.
pub const BUCKETS: [u64; 12] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000,
    30_000_000,
];

/// How a request ended, for counting.
pub const ENDS: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "gone"];

/// Numbers that only grow.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane {
    ends: [AtomicU64; ENDS.len()],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
    retries: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

/// What happened to the requests of one service.
#[derive(Debug)]
pub struct Counts {
    lanes: Box<[Lane]>,
}

impl Default for Counts {
    /// Returns counts that all stand at 0.
    fn default() -> Self {
        Self {
            lanes: (0..LANES).map(|_| Lane::default()).collect(),
        }
    }
}

/// The sum over all threads at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums {
    /// Requests by how they ended, in the order of [`ENDS`].
    pub ends: [u64; ENDS.len()],
    /// Requests by how long the answer's head took, in the order of [`BUCKETS`], longer ones last.
    pub buckets: [u64; BUCKETS.len() + 1],
    /// How long these took together, in microseconds.
    pub micros: u64,
    /// How often a request was sent to another endpoint.
    pub retries: u64,
    /// Bytes of bodies that came from callers.
    pub received: u64,
    /// Bytes of bodies that went to callers.
    pub sent: u64,
}

impl Counts {
    fn lane(&self) -> Option<&Lane> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: Cell<Option<usize>> = const { Cell::new(None) };
        }
        let mine = MINE.get().unwrap_or_else(|| {
            let fresh = NEXT.fetch_add(1, Ordering::Relaxed) % LANES;
            MINE.set(Some(fresh));
            fresh
        });
        self.lanes.get(mine)
    }

    /// Counts a request that got an answer with this status, whose head took so long, or got none.
    pub fn ended(&self, status: Option<u16>, first_byte: Duration, received: u64, sent: u64) {
        let Some(lane) = self.lane() else { return };
        let end = match status {
            Some(status) => usize::from(status / 100).clamp(1, 5) - 1,
            None => ENDS.len() - 1,
        };
        add(lane.ends.get(end), 1);
        if received > 0 {
            add(Some(&lane.received), received);
        }
        if sent > 0 {
            add(Some(&lane.sent), sent);
        }
        if status.is_none() {
            return;
        }
        let micros = u64::try_from(first_byte.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|end| *end < micros);
        add(lane.buckets.get(bucket), 1);
        add(Some(&lane.micros), micros);
    }

    /// Counts a retry.
    pub fn retried(&self) {
        add(self.lane().map(|lane| &lane.retries), 1);
    }

    /// Returns the sum over all threads.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for lane in &self.lanes {
            let ends = sums.ends.iter_mut().zip(&lane.ends);
            for (sum, part) in ends.chain(sums.buckets.iter_mut().zip(&lane.buckets)) {
                *sum += part.load(Ordering::Relaxed);
            }
            sums.micros += lane.micros.load(Ordering::Relaxed);
            sums.retries += lane.retries.load(Ordering::Relaxed);
            sums.received += lane.received.load(Ordering::Relaxed);
            sums.sent += lane.sent.load(Ordering::Relaxed);
        }
        sums
    }
}

fn add(number: Option<&AtomicU64>, more: u64) {
    if let Some(number) = number {
        number.fetch_add(more, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_count_adds_up() {
        let counts = Counts::default();
        let count = || {
            for _ in 0..100 {
                counts.ended(Some(200), Duration::from_micros(500), 1, 10);
                counts.ended(Some(404), Duration::from_micros(501), 0, 0);
                counts.ended(Some(503), Duration::from_secs(60), 0, 0);
                counts.ended(None, Duration::from_secs(60), 0, 0);
                counts.retried();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..2 * LANES {
                scope.spawn(count);
            }
        });
        let n = 200 * LANES as u64;
        let sums = counts.sums();
        assert_eq!(sums.ends, [0, n, 0, n, n, n]);
        assert_eq!(
            (sums.buckets[0], sums.buckets[1], sums.buckets[12]),
            (n, n, n)
        );
        assert_eq!(sums.micros, n * (500 + 501 + 60_000_000));
        assert_eq!((sums.retries, sums.received, sums.sent), (n, n, 10 * n));
    }
}
