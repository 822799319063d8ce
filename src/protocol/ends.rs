//! The ends of a stream in bounded memory: the same that [`output::cut`] makes of the whole.

use std::collections::VecDeque;

use super::output::{self, Output};

/// A character that the cut would go through needs this much more, and a limit too small for the mark
/// is all head.
const SLACK: usize = 8 + output::MARK.len();

/// Keeps the head and the tail of what is printed.
#[derive(Debug)]
pub struct Ends {
    limit: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

impl Ends {
    /// Returns one that keeps `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            head: Vec::new(),
            tail: VecDeque::new(),
            total: 0,
        }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.total += piece.len() as u64;
        // Where not even the mark fits, the head is all that is kept.
        let front = (self.limit / 2).max(self.limit.min(output::MARK.len()));
        let free = (front + SLACK).saturating_sub(self.head.len());
        let (head, rest) = piece.split_at(free.min(piece.len()));
        self.head.extend_from_slice(head);
        let room = self.limit.div_ceil(2) + SLACK;
        let rest = rest
            .get(rest.len().saturating_sub(room)..)
            .unwrap_or_default();
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(room);
        self.tail.drain(..over);
    }

    /// Returns what is kept.
    pub fn finish(self) -> Output {
        let mut bytes = self.head;
        bytes.extend(self.tail);
        let truncated = self.total > self.limit as u64;
        if truncated {
            // Longer than the limit by the slack, so this leaves out the middle.
            bytes = output::cut(&bytes, self.limit);
        }
        Output {
            bytes,
            total: self.total,
            truncated,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keeps_what_the_cut_of_the_whole_would(
            pieces in proptest::collection::vec("\\PC{0,40}", 0..12),
            limit in 0usize..200,
        ) {
            let mut ends = Ends::new(limit);
            let mut whole = Vec::new();
            for piece in &pieces {
                ends.push(piece.as_bytes());
                whole.extend_from_slice(piece.as_bytes());
            }
            prop_assert_eq!(ends.finish(), Output::of(whole, limit));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut ends = Ends::new(1000);
        for _ in 0..1000 {
            ends.push(&[b'x'; 5000]);
        }
        assert!(ends.head.capacity() + ends.tail.capacity() < 16_000);
        assert_eq!(ends.total, 5_000_000);
    }
}
