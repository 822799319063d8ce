//! What a service prints: kept on disk, its end in memory, and handed to one reader if there is any.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::logfile::LogFiles;

/// How much of the end is told with a failure.
const RECENT: usize = 4096;
/// How much waits for a reader that is slower than the service.
const WAITING: usize = 256 << 10;
/// How much of what was printed before a reader can have.
const TAIL: usize = 1 << 20;

/// The output of one service.
#[derive(Debug)]
pub(super) struct Output {
    state: Mutex<State>,
    /// A reader has something to take.
    more: Notify,
}

#[derive(Debug)]
struct State {
    files: LogFiles,
    recent: VecDeque<u8>,
    feed: Option<Feed>,
    over: bool,
}

/// What waits for a reader.
#[derive(Debug)]
struct Feed {
    request: u64,
    bytes: Vec<u8>,
    lost: usize,
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub bytes: Vec<u8>,
    /// Nothing more follows.
    pub end: bool,
}

impl Output {
    /// Keeps the output in `dir`, in files of up to `size` bytes.
    pub(super) fn new(dir: &Path, size: u64) -> Self {
        Self {
            state: Mutex::new(State {
                files: LogFiles::new(dir, size),
                recent: VecDeque::new(),
                feed: None,
                over: false,
            }),
            more: Notify::new(),
        }
    }

    /// Takes what was printed.
    pub(super) fn push(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.files.write(bytes);
        let fresh = bytes.len().saturating_sub(RECENT);
        state.recent.extend(bytes.iter().skip(fresh));
        let old = state.recent.len().saturating_sub(RECENT);
        state.recent.drain(..old);
        if let Some(feed) = &mut state.feed {
            feed.push(bytes);
            drop(state);
            self.more.notify_one();
        }
    }

    /// Begins the output of another process.
    pub(super) fn begin(&self) {
        self.state().recent.clear();
    }

    /// Says that nothing more will be printed.
    pub(super) fn close(&self) {
        self.state().over = true;
        self.more.notify_one();
    }

    /// Returns the last lines as text.
    pub(super) fn last(&self) -> Option<String> {
        let mut state = self.state();
        let whole = state.recent.len() < RECENT;
        let bytes = state.recent.make_contiguous();
        let after_first = bytes.iter().position(|byte| *byte == b'\n');
        // The first line lost its beginning, unless it is the only one.
        let start = match after_first {
            Some(at) if !whole && at + 1 < bytes.len() => at + 1,
            _ => 0,
        };
        let text = String::from_utf8_lossy(bytes.get(start..).unwrap_or_default());
        let mut text = text.trim_end().to_owned();
        // Broken characters take three bytes each.
        while text.len() > RECENT {
            text.remove(0);
        }
        (!text.is_empty()).then_some(text)
    }

    /// Begins to feed the reader with this number, in place of any before it. Returns the last `lines` lines.
    pub(super) fn follow(&self, request: u64, lines: usize) -> Vec<u8> {
        // Under one lock, so that nothing is told twice or not at all.
        let mut state = self.state();
        state.feed = Some(Feed {
            request,
            bytes: Vec::new(),
            lost: 0,
        });
        state.files.tail(lines, TAIL)
    }

    /// Returns the last `lines` lines.
    pub(super) fn tail(&self, lines: usize) -> Vec<u8> {
        self.state().files.tail(lines, TAIL)
    }

    /// Waits for more for the reader with this number. Another reader took its place if there is nothing.
    pub(super) async fn next(&self, request: u64) -> Option<Piece> {
        loop {
            let more = self.more.notified();
            {
                let mut state = self.state();
                let end = state.over;
                let feed = state.feed.as_mut().filter(|feed| feed.request == request)?;
                let bytes = feed.take();
                if end || !bytes.is_empty() {
                    return Some(Piece { bytes, end });
                }
            }
            more.await;
        }
    }

    /// Ends what the reader with this number began.
    pub(super) fn leave(&self, request: u64) {
        let mut state = self.state();
        if state
            .feed
            .as_ref()
            .is_some_and(|feed| feed.request == request)
        {
            state.feed = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    fn push(&mut self, bytes: &[u8]) {
        if self.lost > 0 || self.bytes.len() + bytes.len() > WAITING {
            self.lost += bytes.len();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            bytes.extend_from_slice(
                format!("\n[skyclaw: {lost} bytes left out: read too slowly]\n").as_bytes(),
            );
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(dir: &tempfile::TempDir) -> Output {
        Output::new(&dir.path().join("web-1"), 1 << 20)
    }

    #[test]
    fn the_last_lines_are_whole_and_few() {
        let dir = tempfile::tempdir().unwrap();
        let output = output(&dir);
        assert_eq!(output.last(), None);
        output.push(b"one\ntwo\n");
        assert_eq!(output.last().unwrap(), "one\ntwo");
        for number in 0..2000 {
            output.push(format!("line {number}\n").as_bytes());
        }
        let last = output.last().unwrap();
        assert!(last.len() <= RECENT && last.starts_with("line ") && last.ends_with("line 1999"));
        output.push(&[0xff; 10_000]);
        assert!(output.last().unwrap().len() <= RECENT);
        output.begin();
        assert_eq!(output.last(), None);
    }

    #[tokio::test]
    async fn a_reader_gets_the_tail_then_all_that_follows_then_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let output = output(&dir);
        output.push(b"1\n2\n3\n");
        assert_eq!(output.follow(7, 2), b"2\n3\n");
        output.push(b"4\n");
        output.push(b"5\n");
        let piece = |bytes: &[u8], end| {
            let bytes = bytes.to_vec();
            Some(Piece { bytes, end })
        };
        assert_eq!(output.next(7).await, piece(b"4\n5\n", false));
        output.push(b"6\n");
        output.close();
        assert_eq!(output.next(7).await, piece(b"6\n", true));
        assert_eq!(output.follow(8, 1), b"6\n");
        assert_eq!(output.next(7).await, None, "another took its place");
        output.leave(8);
        assert_eq!(output.next(8).await, None);
    }

    #[tokio::test]
    async fn a_slow_reader_costs_no_memory_and_learns_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let output = output(&dir);
        output.follow(1, 0);
        for _ in 0..40 {
            output.push(&[b'x'; 10_000]);
        }
        let piece = output.next(1).await.unwrap();
        assert!(piece.bytes.len() < WAITING + 100);
        assert!(String::from_utf8_lossy(&piece.bytes).contains("bytes left out"));
        output.push(b"on it goes");
        assert_eq!(output.next(1).await.unwrap().bytes, b"on it goes");
    }
}
