//! What a job printed and the coordinator does not have yet: bounded, so that neither a noisy job nor a
//! coordinator that is away costs more than a few MiB.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::protocol::api::{LeaseName, Stream};

/// The largest piece.
pub(super) const PIECE: usize = 64 * 1024;

/// A piece on its way. Bytes that were dropped show as a gap between offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Of which stream.
    pub stream: Stream,
    /// How many bytes came before.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Wakes whoever reads what a job prints. Called from any thread; must not block.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// The queue between a job's slot and whoever sends its log.
pub struct JobLog {
    /// Whose log it is.
    pub lease: LeaseName,
    /// Most bytes that wait.
    cap: usize,
    queue: Mutex<Queue>,
    /// Told when there is something to send.
    ready: Arc<tokio::sync::Notify>,
    /// Told when there is room again.
    room: Wake,
}

#[derive(Default)]
struct Queue {
    /// The oldest, up to half of the cap.
    head: VecDeque<Piece>,
    /// The newest; what is too much is dropped between the two.
    tail: VecDeque<Piece>,
    head_bytes: usize,
    tail_bytes: usize,
    /// Somebody waits for room.
    crowded: bool,
    /// Nobody takes the log any more.
    closed: bool,
    /// Pieces were taken and not yet delivered.
    under_way: bool,
}

impl JobLog {
    /// Returns an empty log that keeps at most `cap` bytes.
    pub fn new(lease: LeaseName, cap: usize, ready: Arc<tokio::sync::Notify>, room: Wake) -> Self {
        Self {
            lease,
            cap,
            queue: Mutex::default(),
            ready,
            room,
        }
    }

    /// Takes a piece; what is too much is dropped from the middle.
    pub fn push(&self, piece: Piece) {
        let mut queue = self.queue();
        if queue.closed {
            return;
        }
        let half = self.cap / 2;
        if queue.tail.is_empty() && queue.head_bytes + piece.bytes.len() <= half {
            queue.head_bytes += piece.bytes.len();
            queue.head.push_back(piece);
        } else {
            queue.tail_bytes += piece.bytes.len();
            queue.tail.push_back(piece);
            while queue.tail_bytes > half && queue.tail.len() > 1 {
                let dropped = queue.tail.pop_front().map_or(0, |piece| piece.bytes.len());
                queue.tail_bytes -= dropped;
            }
        }
        drop(queue);
        self.ready.notify_one();
    }

    /// Tells whether the next piece would cost an older one.
    pub fn is_full(&self) -> bool {
        let mut queue = self.queue();
        let full = !queue.closed && queue.tail_bytes + PIECE > self.cap / 2;
        queue.crowded = full;
        full
    }

    /// Takes pieces of at most `most` bytes together, but one at least if there is any.
    pub fn take(&self, most: usize) -> Vec<Piece> {
        let mut queue = self.queue();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(piece) = queue.next_within(most.saturating_sub(bytes), taken.is_empty()) {
            bytes += piece.bytes.len();
            taken.push(piece);
        }
        queue.under_way |= !taken.is_empty();
        let room = !taken.is_empty() && std::mem::take(&mut queue.crowded);
        drop(queue);
        if room {
            (self.room)();
        }
        taken
    }

    /// Notes that what was taken is delivered.
    pub fn delivered(&self) {
        self.queue().under_way = false;
    }

    /// Tells whether nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        let queue = self.queue();
        queue.head.is_empty() && queue.tail.is_empty() && !queue.under_way
    }

    /// Drops what waits and all that comes.
    pub fn close(&self) {
        *self.queue() = Queue {
            closed: true,
            ..Queue::default()
        };
        (self.room)();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn next_within(&mut self, room: usize, any: bool) -> Option<Piece> {
        let fits = |piece: &Piece| any || piece.bytes.len() <= room;
        let piece = match self.head.front() {
            Some(piece) => fits(piece).then(|| self.head.pop_front())?,
            None => self
                .tail
                .front()
                .is_some_and(fits)
                .then(|| self.tail.pop_front())?,
        }?;
        let from = if self.head_bytes > 0 {
            &mut self.head_bytes
        } else {
            &mut self.tail_bytes
        };
        *from -= piece.bytes.len();
        Some(piece)
    }
}
