//! The slot's end of a job's log: makes pieces of what is printed, and says when reading should wait.

use std::time::{Duration, Instant};

use super::log::{JobLog, PIECE, Piece};
use crate::protocol::api::Stream;

/// A piece that is smaller than the largest is sent when it is this old.
const PIECE_AGE: Duration = Duration::from_millis(500);
/// A job that printed more than this is not slowed down for the log's sake: the coordinator keeps no more anyway.
const PATIENT_UNTIL: u64 = 16 * 1024 * 1024;
/// How long a job waits for the log to be sent before the middle is dropped.
const PATIENCE: Duration = Duration::from_secs(1);

/// The slot's end of a log: makes pieces of what is printed.
pub struct Chunks<'l> {
    log: Option<&'l JobLog>,
    pending: [Pending; 2],
    /// A piece was sent: the rest must follow. A job that is over before has its output in its result.
    begun: bool,
    total: u64,
    crowded_since: Option<Instant>,
    out_of_patience: bool,
}

struct Pending {
    stream: Stream,
    offset: u64,
    bytes: Vec<u8>,
    since: Option<Instant>,
}

impl<'l> Chunks<'l> {
    /// Returns one for this log, or one that does nothing.
    pub fn new(log: Option<&'l JobLog>) -> Self {
        let pending = |stream| Pending {
            stream,
            offset: 0,
            bytes: Vec::new(),
            since: None,
        };
        Self {
            log,
            pending: [pending(Stream::Stdout), pending(Stream::Stderr)],
            begun: false,
            total: 0,
            crowded_since: None,
            out_of_patience: false,
        }
    }

    /// Takes what was printed.
    pub fn push(&mut self, stream: Stream, mut bytes: &[u8], now: Instant) {
        let Some(log) = self.log else { return };
        self.total += bytes.len() as u64;
        let [first, second] = &mut self.pending;
        let pending = if stream == Stream::Stdout {
            first
        } else {
            second
        };
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(bytes.len().min(PIECE - pending.bytes.len()));
            pending.bytes.extend_from_slice(piece);
            pending.since.get_or_insert(now);
            if pending.bytes.len() == PIECE {
                self.begun = true;
                pending.send(log);
            }
            bytes = rest;
        }
    }

    /// Sends what has waited long enough. Returns when the next is due.
    pub fn flush_old(&mut self, now: Instant) -> Option<Instant> {
        let log = self.log?;
        let mut next: Option<Instant> = None;
        for pending in &mut self.pending {
            let Some(due) = pending.since.map(|since| since + PIECE_AGE) else {
                continue;
            };
            if due <= now {
                self.begun = true;
                pending.send(log);
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        next
    }

    /// Tells whether reading should wait for the log, and at most until when.
    pub fn hold_until(&mut self, now: Instant) -> Option<Instant> {
        let full = self.log.is_some_and(JobLog::is_full);
        if !full {
            self.crowded_since = None;
            self.out_of_patience = false;
            return None;
        }
        let until = *self.crowded_since.get_or_insert(now) + PATIENCE;
        self.out_of_patience |= self.total > PATIENT_UNTIL || until <= now;
        (!self.out_of_patience).then_some(until)
    }

    /// Sends the rest, unless the job was so short that its result says it all.
    pub fn finish(mut self) {
        if let (Some(log), true) = (self.log, self.begun) {
            for pending in &mut self.pending {
                if !pending.bytes.is_empty() {
                    pending.send(log);
                }
            }
        }
    }
}

impl Pending {
    fn send(&mut self, log: &JobLog) {
        let bytes = std::mem::take(&mut self.bytes);
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        self.since = None;
        log.push(Piece {
            stream: self.stream,
            offset,
            bytes,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::protocol::api::LeaseName;
    use crate::protocol::{AttemptNo, JobId, LeaseToken};

    fn log(cap: usize) -> JobLog {
        let lease = LeaseName {
            job_id: JobId::fresh(),
            attempt: AttemptNo::new(1),
            lease_token: LeaseToken::fresh(),
        };
        JobLog::new(lease, cap, Arc::default(), Box::new(|| {}))
    }

    #[test]
    fn a_short_job_sends_nothing_and_a_long_one_everything() {
        let log = log(1 << 20);
        let start = Instant::now();
        let mut chunks = Chunks::new(Some(&log));
        chunks.push(Stream::Stdout, b"short", start);
        assert!(chunks.flush_old(start).is_some());
        chunks.finish();
        assert!(log.is_idle());
        let mut chunks = Chunks::new(Some(&log));
        chunks.push(Stream::Stdout, b"one", start);
        assert_eq!(chunks.flush_old(start + PIECE_AGE), None);
        chunks.push(Stream::Stdout, b"two", start);
        chunks.push(Stream::Stderr, b"x", start);
        chunks.finish();
        let pieces = log.take(usize::MAX);
        let seen: Vec<_> = pieces
            .iter()
            .map(|p| (p.stream, p.offset, p.bytes.as_slice()))
            .collect();
        assert_eq!(
            seen,
            [
                (Stream::Stdout, 0, &b"one"[..]),
                (Stream::Stdout, 3, b"two"),
                (Stream::Stderr, 0, b"x")
            ]
        );
    }

    #[test]
    fn the_middle_goes_when_nobody_takes_the_log() {
        let log = log(4 * PIECE);
        let start = Instant::now();
        let mut chunks = Chunks::new(Some(&log));
        let mut held = 0;
        for turn in 0..100_u32 {
            let now = start + PATIENCE * turn;
            held += usize::from(chunks.hold_until(now).is_some());
            chunks.push(Stream::Stdout, &[b'x'; PIECE], now);
        }
        assert_eq!(held, 1, "patience is spent once");
        let offsets: Vec<u64> = log.take(usize::MAX).iter().map(|p| p.offset).collect();
        let piece = PIECE as u64;
        assert_eq!(offsets, [0, piece, 98 * piece, 99 * piece]);
        assert!(!log.is_idle());
        log.delivered();
        assert!(log.is_idle());
        assert_eq!(chunks.hold_until(start), None);
    }

    #[test]
    fn batches_keep_to_their_size() {
        let log = log(1 << 20);
        let mut chunks = Chunks::new(Some(&log));
        chunks.push(Stream::Stdout, &[b'x'; 3 * PIECE], Instant::now());
        assert_eq!(log.take(1).len(), 1, "one at least");
        assert_eq!(log.take(2 * PIECE).len(), 2);
        assert!(log.take(1).is_empty());
    }
}
