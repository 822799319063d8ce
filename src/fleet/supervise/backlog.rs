//! Output that waits for its live view. The view may be slow; the clocks of a task may not.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Live, Stream};
use crate::fleet::run::RunEvent;

/// What waits for a slow reader of live output before the rest is left to the record, in bytes.
const MOST_UNSEEN: usize = 4 << 20;

/// The pieces that wait, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The view, and the number by which it knows the task.
    live: Option<(usize, Live)>,
    pieces: VecDeque<(Stream, Bytes)>,
    bytes: usize,
    /// What was left out, in bytes.
    pub(super) unseen: u64,
}

impl Backlog {
    pub(super) fn new(live: Option<(usize, Live)>) -> Self {
        Self {
            live,
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn push(&mut self, stream: Stream, bytes: Bytes) {
        if self.live.is_none() {
            return;
        }
        if self.bytes > MOST_UNSEEN {
            self.unseen += bytes.len() as u64;
            return;
        }
        self.bytes += bytes.len();
        self.pieces.push_back((stream, bytes));
    }

    /// Hands the oldest piece to the view. Cancel safe: it leaves the queue only when there is room for it.
    pub(super) async fn offer(&mut self) {
        let Some((unit, live)) = &self.live else {
            self.pieces.clear();
            return;
        };
        let room = live.reserve().await;
        if let Some((stream, bytes)) = self.pieces.pop_front() {
            self.bytes = self.bytes.saturating_sub(bytes.len());
            if let Ok(room) = room {
                room.send(RunEvent::Output {
                    unit: *unit,
                    stream,
                    bytes,
                });
            }
        }
    }

    /// Hands over all that is left, unless nobody looks any more.
    pub(super) async fn drain(&mut self) {
        while !self.is_empty() {
            self.offer().await;
        }
    }
}
