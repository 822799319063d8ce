//! What one task printed, put together from its log and its result: every byte once and in order.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::fleet::capture::Capture;
use crate::fleet::report::Kept;
use crate::fleet::run::RunEvent;
use crate::fleet::supervise::Stream;
use crate::protocol::api::{LogPiece, Stream as LogStream};
use crate::protocol::output::MARK;
use crate::protocol::{AttemptNo, Output};

/// One stream.
struct Track {
    stream: Stream,
    capture: Capture,
    /// How many bytes of it are here, or known to be gone.
    seen: u64,
    /// Something in the middle is gone.
    holes: bool,
}

/// Both streams of the last try.
pub(super) struct Tape {
    unit: usize,
    live: Option<mpsc::Sender<RunEvent>>,
    attempt: AttemptNo,
    stdout: Track,
    stderr: Track,
}

impl Tape {
    /// Returns an empty one. `capture` makes what keeps a stream of a try; with `live` all that comes is told too.
    pub(super) fn new(
        unit: usize,
        live: Option<mpsc::Sender<RunEvent>>,
        capture: impl Fn(&str) -> Capture,
    ) -> Self {
        let track = |stream, ending| Track {
            stream,
            capture: capture(ending),
            seen: 0,
            holes: false,
        };
        Self {
            unit,
            live,
            attempt: AttemptNo::NONE,
            stdout: track(Stream::Stdout, "out"),
            stderr: track(Stream::Stderr, "err"),
        }
    }

    /// Takes a piece of the log, or the part of it that is new.
    pub(super) async fn piece(&mut self, piece: &LogPiece) {
        if piece.attempt < self.attempt {
            return;
        }
        if piece.attempt > self.attempt {
            self.again(piece.attempt);
        }
        let Ok(bytes) = STANDARD.decode(&piece.data_b64) else {
            tracing::warn!("a piece of output that is not base64");
            return;
        };
        let track = self.track(piece.stream);
        let skip = usize::try_from(track.seen.saturating_sub(piece.offset)).unwrap_or(usize::MAX);
        let Some(fresh) = bytes.get(skip..).filter(|fresh| !fresh.is_empty()) else {
            return;
        };
        let mut told = Vec::new();
        if piece.offset > track.seen {
            track.holes = true;
            told.extend_from_slice(MARK.as_bytes());
        }
        track.seen = piece.offset + bytes.len() as u64;
        told.extend_from_slice(fresh);
        self.put(piece.stream, told.into()).await;
    }

    /// Tells whether the log has to be read for what the result does not hold.
    pub(super) fn lacks(&self, stdout: &Output, stderr: &Output) -> bool {
        stdout.truncated && self.stdout.seen < stdout.total
            || stderr.truncated && self.stderr.seen < stderr.total
    }

    /// Starts anew for another try: what an earlier one printed was shown, but is no part of the result.
    pub(super) fn again(&mut self, attempt: AttemptNo) {
        if self.attempt == attempt {
            return;
        }
        if self.attempt != AttemptNo::NONE {
            for track in [&mut self.stdout, &mut self.stderr] {
                track.capture.clear();
                (track.seen, track.holes) = (0, false);
            }
        }
        self.attempt = attempt;
    }

    /// Takes from the result what the log did not give, and returns all there is.
    pub(super) async fn finish(mut self, stdout: &Output, stderr: &Output) -> (Kept, Kept) {
        for (stream, output) in [(LogStream::Stdout, stdout), (LogStream::Stderr, stderr)] {
            let (rest, holes) = rest(output, self.track(stream).seen);
            self.track(stream).holes |= holes;
            if !rest.is_empty() {
                self.put(stream, Bytes::copy_from_slice(rest)).await;
            }
        }
        (
            self.stdout.kept(stdout.total),
            self.stderr.kept(stderr.total),
        )
    }

    fn track(&mut self, stream: LogStream) -> &mut Track {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        }
    }

    async fn put(&mut self, stream: LogStream, bytes: Bytes) {
        let unit = self.unit;
        let live = self.live.clone();
        let track = self.track(stream);
        if let Err(error) = track.capture.push(&bytes) {
            tracing::warn!(%error, "cannot keep a task's output on this machine");
        }
        let stream = track.stream;
        if let Some(live) = live {
            // Nobody listens any more only when the user left at once.
            let _ = live
                .send(RunEvent::Output {
                    unit,
                    stream,
                    bytes,
                })
                .await;
        }
    }
}

impl Track {
    fn kept(self, total: u64) -> Kept {
        let (mut kept, _) = Kept::take(self.capture);
        kept.total = total.max(self.seen);
        kept.cut |= self.holes;
        kept
    }
}

/// Returns what `output` has after the first `seen` bytes, and whether something is missing before it.
fn rest(output: &Output, seen: u64) -> (&[u8], bool) {
    // Results of others may not say how much there was.
    let is_all = seen >= output.total;
    if is_all && (seen > 0 || output.bytes.is_empty()) {
        return (&[], false);
    }
    if !output.truncated {
        let from = usize::try_from(seen).unwrap_or(usize::MAX);
        return (output.bytes.get(from..).unwrap_or_default(), false);
    }
    if seen == 0 {
        return (&output.bytes, true);
    }
    // The tail ends where the output does; what it has beyond the mark may be new.
    let mark = MARK.as_bytes();
    let at = output
        .bytes
        .windows(mark.len())
        .position(|window| window == mark);
    let Some(at) = at else {
        return (&[], true);
    };
    let tail = output.bytes.get(at + mark.len()..).unwrap_or_default();
    let begins = output.total.saturating_sub(tail.len() as u64);
    match seen.checked_sub(begins) {
        Some(known) => {
            let known = usize::try_from(known).unwrap_or(usize::MAX);
            (tail.get(known..).unwrap_or_default(), false)
        }
        None => (output.bytes.get(at..).unwrap_or_default(), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::OUTPUT_LIMIT;

    fn tape(dir: &std::path::Path) -> Tape {
        let place = dir.to_owned();
        Tape::new(0, None, move |ending| {
            Capture::new(None, place.join(format!("a.{ending}")))
        })
    }

    fn piece(attempt: u16, offset: u64, text: &[u8]) -> LogPiece {
        LogPiece {
            attempt: AttemptNo::new(attempt),
            stream: LogStream::Stdout,
            offset,
            dropped: 0,
            data_b64: STANDARD.encode(text),
        }
    }

    #[tokio::test]
    async fn every_byte_comes_once_whatever_came_before_the_result() {
        let dir = tempfile::tempdir().unwrap();
        let printed: Vec<u8> = (0..60_000)
            .flat_map(|n| format!("{n}\n").into_bytes())
            .collect();
        let whole = Output::of(printed.clone(), usize::MAX);
        let ends = Output::of(printed.clone(), OUTPUT_LIMIT);
        // Nothing, a part, a part twice, all of it before the tail, everything.
        let late = printed.len() - 1000;
        let cases: [&[(usize, usize)]; 5] = [
            &[],
            &[(0, 10)],
            &[(0, 10), (5, 500)],
            &[(0, late)],
            &[(0, printed.len())],
        ];
        for cuts in cases {
            for output in [&whole, &ends] {
                let mut tape = tape(dir.path());
                for (start, end) in cuts.iter().copied() {
                    tape.piece(&piece(1, start as u64, &printed[start..end]))
                        .await;
                }
                let has_all = !tape.lacks(output, &Output::default());
                let (kept, _) = tape.finish(output, &Output::default()).await;
                assert_eq!(kept.total, printed.len() as u64);
                let covered = cuts.last().is_some_and(|(_, end)| *end >= late);
                assert_eq!(kept.cut, output.truncated && !covered, "{cuts:?}");
                if !kept.cut {
                    assert!(kept.read().unwrap() == printed, "{cuts:?}");
                } else {
                    assert!(!has_all && kept.read().unwrap().ends_with(b"59999\n"));
                }
            }
        }
    }

    #[tokio::test]
    async fn another_try_begins_anew_and_a_hole_is_marked() {
        let dir = tempfile::tempdir().unwrap();
        let mut tape = tape(dir.path());
        tape.piece(&piece(1, 0, b"first")).await;
        tape.piece(&piece(2, 0, b"a")).await;
        tape.piece(&piece(1, 5, b"late")).await;
        tape.piece(&piece(2, 4, b"z")).await;
        let end = Output {
            bytes: b"a".to_vec(),
            total: 5,
            truncated: true,
        };
        let (kept, _) = tape.finish(&end, &Output::default()).await;
        assert_eq!(kept.read().unwrap(), format!("a{MARK}z").into_bytes());
        assert!(kept.cut && kept.total == 5);
    }
}
