//! Shows what a job prints, byte for byte, each stream on its own, and nothing twice.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::wait::PATIENCE;
use crate::cli::output::{Format, Output};
use crate::cli::sanitize::Filter;
use crate::cli::summary::insert_bytes;
use crate::client::{Client, Error, LogEvent, LogQuery};
use crate::protocol::api::{Code, LogPiece, Stream};
use crate::protocol::{AttemptNo, JobId, JobRecord, JobResult, Output as Kept};

/// Where a job's output goes.
pub struct Screen<'o> {
    output: &'o Output,
    raw: bool,
    only: Option<Stream>,
    leaves: bool,
    filters: BTreeMap<Stream, Filter>,
    attempt: AttemptNo,
    /// How many bytes of each stream of this attempt are shown or known to be gone.
    shown: BTreeMap<Stream, u64>,
}

impl<'o> Screen<'o> {
    /// Shows both streams, each where it belongs.
    pub fn new(output: &'o Output, raw: bool) -> Self {
        Self {
            output,
            raw,
            only: None,
            leaves: false,
            filters: BTreeMap::new(),
            attempt: AttemptNo::NONE,
            shown: BTreeMap::new(),
        }
    }

    /// Shows one stream only, on stdout whichever it is, so that it can be piped on.
    #[must_use]
    pub fn only(mut self, stream: Option<Stream>) -> Self {
        self.only = stream;
        self
    }

    /// Stops following once nobody reads any more. Whoever waits for the job's end must not.
    #[must_use]
    pub fn leaving(mut self) -> Self {
        self.leaves = true;
        self
    }

    /// Shows a piece, or the part of it that was not shown yet.
    pub fn piece(&mut self, piece: &LogPiece) {
        if piece.attempt < self.attempt {
            return;
        }
        if piece.attempt > self.attempt {
            if self.attempt != AttemptNo::NONE {
                self.output
                    .note(&format!("the job runs again, try {}", piece.attempt));
            }
            self.attempt = piece.attempt;
            self.shown.clear();
        }
        let Ok(bytes) = BASE64.decode(&piece.data_b64) else {
            tracing::warn!("a piece of output that is not base64");
            return;
        };
        let shown = self.shown.entry(piece.stream).or_default();
        if piece.offset > *shown {
            let lost = piece.offset - *shown;
            self.output
                .note(&format!("{lost} bytes of output are not kept here"));
        }
        let end = piece.offset + bytes.len() as u64;
        let skip = usize::try_from(shown.saturating_sub(piece.offset)).unwrap_or(usize::MAX);
        *shown = end.max(*shown);
        if let Some(fresh) = bytes.get(skip..).filter(|fresh| !fresh.is_empty()) {
            self.event(piece, fresh);
            self.write(piece.stream, fresh);
        }
    }

    /// Shows what the result has beyond what was shown.
    pub fn result(&mut self, result: &JobResult) {
        for (stream, kept) in [
            (Stream::Stdout, &result.stdout),
            (Stream::Stderr, &result.stderr),
        ] {
            let shown = self.shown.get(&stream).copied().unwrap_or(0);
            if let Some(rest) = rest(kept, shown) {
                self.write(stream, rest);
                self.shown.insert(stream, kept.total);
            }
        }
    }

    /// Ends what filters hold back.
    pub fn finish(&mut self) {
        for (stream, mut filter) in std::mem::take(&mut self.filters) {
            let mut rest = Vec::new();
            filter.finish(&mut rest);
            self.put(stream, &rest);
        }
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let streams = self.output.streams();
        let terminal = match self.place(stream) {
            Some(Stream::Stdout) => streams.out_width.is_some(),
            Some(Stream::Stderr) => streams.err_terminal,
            None => return,
        };
        if !terminal || self.raw {
            return self.put(stream, bytes);
        }
        let mut shown = Vec::new();
        self.filters
            .entry(stream)
            .or_default()
            .push(bytes, &mut shown);
        self.put(stream, &shown);
    }

    fn put(&self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() || self.output.format() != Format::Human {
            return;
        }
        match self.place(stream) {
            Some(Stream::Stdout) => self.output.bytes(bytes),
            Some(Stream::Stderr) => self.output.error_bytes(bytes),
            None => {}
        }
    }

    /// Where a stream is shown.
    fn place(&self, stream: Stream) -> Option<Stream> {
        match self.only {
            None => Some(stream),
            Some(only) => (only == stream).then_some(Stream::Stdout),
        }
    }

    fn event(&self, piece: &LogPiece, bytes: &[u8]) {
        if self.place(piece.stream).is_none() {
            return;
        }
        let mut body = json!({ "attempt": piece.attempt, "stream": piece.stream });
        if let Some(map) = body.as_object_mut() {
            insert_bytes(map, "data", bytes);
        }
        if let Err(error) = self.output.event("chunk", &body) {
            tracing::error!(%error, "cannot print event");
        }
    }
}

/// What is kept after the first `shown` bytes, if that can be told.
fn rest(kept: &Kept, shown: u64) -> Option<&[u8]> {
    match shown {
        0 => Some(kept.bytes.as_slice()),
        // The middle is missing, so places in it no longer tell how much came before.
        _ if kept.truncated => None,
        _ => kept.bytes.get(usize::try_from(shown).ok()?..),
    }
    .filter(|rest| !rest.is_empty())
}

/// Follows a job until it ends and returns it.
///
/// # Errors
/// When there is no such job or the coordinator cannot be asked.
pub async fn until_end(
    client: &Client,
    job: JobId,
    query: &LogQuery,
    screen: &mut Screen<'_>,
) -> Result<JobRecord, Error> {
    let followed = streamed(client, job, query, screen).await;
    let ended = match followed {
        Ok(ended) => ended,
        // No logs at this coordinator: its result is all there is.
        Err(error) if matches!(error.code(), Some(Code::NotFound | Code::MethodNotAllowed)) => {
            client.wait(job, None, PATIENCE).await?
        }
        Err(error) => return Err(error),
    };
    if let Some(result) = &ended.result {
        screen.result(result);
    }
    screen.finish();
    Ok(ended)
}

async fn streamed(
    client: &Client,
    job: JobId,
    query: &LogQuery,
    screen: &mut Screen<'_>,
) -> Result<JobRecord, Error> {
    let mut stream = client.follow_logs(job, query).await?;
    loop {
        match stream.next().await? {
            LogEvent::Piece(piece) => screen.piece(&piece),
            LogEvent::End(ended) => return Ok(*ended),
        }
        if screen.leaves && screen.output.is_closed() {
            return client.job(job).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Captured, Streams};

    fn piece(attempt: u16, stream: Stream, offset: u64, text: &str) -> LogPiece {
        LogPiece {
            attempt: AttemptNo::new(attempt),
            stream,
            offset,
            dropped: 0,
            data_b64: BASE64.encode(text),
        }
    }

    fn shown(work: impl FnOnce(&mut Screen<'_>)) -> (String, String) {
        let (out, err) = (Captured::default(), Captured::default());
        let streams = Streams {
            out_width: None,
            err_terminal: false,
            out_colour: false,
            err_colour: false,
            quiet: false,
        };
        let output = Output::to(
            Format::Human,
            streams,
            Box::new(out.clone()),
            Box::new(err.clone()),
        );
        let mut screen = Screen::new(&output, false);
        work(&mut screen);
        screen.finish();
        (out.text(), err.text())
    }

    #[test]
    fn pieces_that_come_twice_are_shown_once_and_the_result_fills_up() {
        use Stream::{Stderr, Stdout};
        let (out, err) = shown(|screen| {
            screen.piece(&piece(1, Stdout, 0, "hel"));
            screen.piece(&piece(1, Stdout, 0, "hel"));
            screen.piece(&piece(1, Stdout, 1, "ello"));
            screen.result(&JobResult {
                stdout: Kept::of(b"hello you".to_vec(), 100),
                stderr: Kept::of(b"oh".to_vec(), 100),
                ..JobResult::default()
            });
            screen.piece(&piece(1, Stderr, 0, "oh"));
        });
        assert_eq!((out.as_str(), err.as_str()), ("hello you", "oh"));
    }

    #[test]
    fn another_try_and_a_gap_are_said() {
        let (out, err) = shown(|screen| {
            screen.piece(&piece(1, Stream::Stdout, 0, "a"));
            screen.piece(&piece(2, Stream::Stdout, 5, "b"));
            screen.piece(&piece(1, Stream::Stdout, 1, "late"));
        });
        assert_eq!(out, "ab");
        assert_eq!(
            err,
            "skyclaw: the job runs again, try 2\nskyclaw: 5 bytes of output are not kept here\n"
        );
    }
}
