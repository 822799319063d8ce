//! The only place that prints. Results go to stdout, notes and errors to stderr.
//!
//! A reader that went away (`head`) is no error: output stops, the work and the exit code do not.
//! Any other failure to write, such as a full disk, is kept and reported by [`Output::finish`].

mod captured;
mod patient;
mod prompt;
mod streams;

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use indicatif::MultiProgress;
use serde::Serialize;

use super::args::Global;
use super::error::classify;
use super::exit::Exit;
use super::sanitize;
use super::table::Table;
use crate::fleet::file::{Level, Problem};
use crate::support::shutdown::Shutdown;

pub use captured::Captured;
pub use streams::{Streams, wants_colour};

/// The version of everything printed as JSON.
pub const SCHEMA: u32 = 1;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON document.
    Json,
    /// One JSON event per line.
    Ndjson,
}

/// Prints. Shared by reference or in an `Arc`; every call writes whole lines or nothing.
pub struct Output {
    format: Format,
    streams: Streams,
    state: Mutex<State>,
    leave: Arc<OnceLock<Shutdown>>,
}

struct State {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// The reader of stdout is gone.
    closed: bool,
    failed: Option<io::Error>,
    /// The one JSON document is printed.
    printed: bool,
    /// Progress bars on stderr, which step aside while something is printed.
    bars: Option<MultiProgress>,
}

/// What is written of a document at once.
const DOCUMENT_BUFFER: usize = 64 << 10;

#[derive(Serialize)]
struct Versioned<'b, B> {
    schema: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'b str>,
    #[serde(flatten)]
    body: &'b B,
}

#[derive(Serialize)]
struct ErrorBody<'e> {
    error: ErrorText<'e>,
}

#[derive(Serialize)]
struct ErrorText<'e> {
    exit: u8,
    message: &'e str,
    hints: &'e [String],
}

impl Output {
    /// Prints to the streams of this process.
    pub fn new(format: Format, global: &Global) -> Self {
        let streams = Streams::of_process(format, global);
        let leave = Arc::default();
        let out = patient::Writer::new(io::stdout(), Arc::clone(&leave));
        let err = patient::Writer::new(io::stderr(), Arc::clone(&leave));
        Self {
            leave,
            ..Self::to(format, streams, Box::new(out), Box::new(err))
        }
    }

    /// Stops waiting for a reader who does not read once `shutdown` says to leave now.
    pub fn leave_on(&self, shutdown: &Shutdown) {
        let _ = self.leave.set(shutdown.clone());
    }

    /// Prints to other streams.
    pub fn to(
        format: Format,
        streams: Streams,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Self {
        Self {
            format,
            streams,
            state: Mutex::new(State {
                out,
                err,
                closed: false,
                failed: None,
                printed: false,
                bars: None,
            }),
            leave: Arc::default(),
        }
    }

    /// Returns how results are written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns what the streams are like.
    pub fn streams(&self) -> Streams {
        self.streams
    }

    /// Prints around these progress bars from now on, or around none.
    pub(super) fn print_around(&self, bars: Option<MultiProgress>) {
        self.state().bars = bars;
    }

    /// Tells whether anybody still reads stdout.
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Prints a line of the result for people; prints nothing in the JSON formats.
    pub fn line(&self, text: &str) {
        if self.format == Format::Human {
            let text = if self.streams.out_width.is_some() {
                sanitize::text(text)
            } else {
                text.into()
            };
            self.state().write_out(format!("{text}\n").as_bytes());
        }
    }

    /// Prints a name and what it stands for on one line, whatever the value holds: it may come from
    /// anybody, and must not look like another fact.
    pub fn fact(&self, name: &str, value: &str) {
        self.line(&format!("{name:<12} {}", sanitize::one_line(value)));
    }

    /// Prints bytes of the result as they are, for people only. Filter them first
    /// ([`sanitize::Filter`]) if they come from a host and stdout is a terminal.
    pub fn bytes(&self, bytes: &[u8]) {
        if self.format == Format::Human {
            self.state().write_out(bytes);
        }
    }

    /// Prints bytes to stderr as they are, such as a task's own stderr. Filter them as for
    /// [`Output::bytes`] if stderr is a terminal.
    pub fn error_bytes(&self, bytes: &[u8]) {
        self.state().write_err(bytes);
    }

    /// Prints a table: wrapped on a terminal, tab-separated elsewhere.
    pub fn table(&self, table: &Table) {
        if self.format == Format::Human {
            let text = match self.streams.out_width {
                Some(width) => table.drawn(width),
                None => table.tab_separated(),
            };
            self.state().write_out(text.as_bytes());
        }
    }

    /// Prints the one JSON document, with `"schema": 1`; prints nothing in the other formats.
    ///
    /// # Errors
    /// When `body` is not a JSON object.
    pub fn document<B: Serialize>(&self, body: &B) -> anyhow::Result<()> {
        if self.format != Format::Json {
            return Ok(());
        }
        let mut state = self.state();
        debug_assert!(!state.printed, "--json prints exactly one document");
        if !std::mem::replace(&mut state.printed, true) {
            // Written while it is made: the outputs of a thousand hosts need not fit in memory.
            let mut out = BufWriter::with_capacity(DOCUMENT_BUFFER, Outward(&mut state));
            let document = Versioned {
                schema: SCHEMA,
                event: None,
                body,
            };
            serde_json::to_writer_pretty(&mut out, &document)?;
            out.write_all(b"\n")?;
            out.flush()?;
        }
        Ok(())
    }

    /// Prints one event as a line of JSON, with `"schema": 1`; prints nothing in the other formats.
    ///
    /// # Errors
    /// When `body` is not a JSON object.
    pub fn event<B: Serialize>(&self, name: &str, body: &B) -> anyhow::Result<()> {
        if self.format != Format::Ndjson {
            return Ok(());
        }
        let mut text = serde_json::to_string(&Versioned {
            schema: SCHEMA,
            event: Some(name),
            body,
        })?;
        text.push('\n');
        self.state().write_out(text.as_bytes());
        Ok(())
    }

    /// Says something on stderr that is not the result; held back by `-q`.
    pub fn note(&self, text: &str) {
        if !self.streams.quiet {
            let text = sanitize::text(text);
            self.state()
                .write_err(format!("skyclaw: {text}\n").as_bytes());
        }
    }

    /// Shows why the command failed and what to do next; returns the exit code it means.
    pub fn failure(&self, error: &anyhow::Error) -> Exit {
        let (exit, hints) = classify(error);
        let message = format!("{error:#}");
        let mut text = format!(
            "{} {}\n",
            self.mark("skyclaw:", "31"),
            sanitize::text(&message)
        );
        if let Some(crate::fleet::file::Error::Invalid { path, problems }) = error.downcast_ref() {
            for problem in problems {
                text.push_str(&sanitize::text(&problem_line(path, problem)));
                text.push('\n');
            }
        }
        for hint in &hints {
            text.push_str(&format!(
                "{} {}\n",
                self.mark("hint:", "36"),
                sanitize::text(hint)
            ));
        }
        self.state().write_err(text.as_bytes());
        let body = ErrorBody {
            error: ErrorText {
                exit: exit.code(),
                message: &message,
                hints: &hints,
            },
        };
        // Whoever asked for JSON gets the error as JSON too, unless the document is already out.
        if !self.state().printed {
            let _ = self.document(&body);
        }
        let _ = self.event("error", &body);
        exit
    }

    /// Flushes, and returns what kept the result from being written in full.
    ///
    /// # Errors
    /// When writing to stdout failed for another reason than a reader that went away.
    pub fn finish(&self) -> anyhow::Result<()> {
        let mut state = self.state();
        state.flush_out();
        match state.failed.take() {
            Some(error) => Err(anyhow::Error::new(error).context("write the result to stdout")),
            None => Ok(()),
        }
    }

    fn mark(&self, word: &str, colour: &str) -> String {
        if self.streams.err_colour {
            format!("\x1b[1;{colour}m{word}\x1b[0m")
        } else {
            word.to_owned()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere must not silence the message about it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way out for what is written bit by bit. Failures are the state's affair.
struct Outward<'s>(&'s mut State);

impl Write for Outward<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_out(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn write_out(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        let bars = self.bars.clone();
        aside(bars.as_ref(), || {
            let written = self.out.write_all(bytes);
            self.take_result(written);
            self.flush_out();
        });
    }

    fn flush_out(&mut self) {
        if !self.closed {
            let flushed = self.out.flush();
            self.take_result(flushed);
        }
    }

    fn take_result(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.closed = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.failed = Some(error);
            }
        }
    }

    fn write_err(&mut self, bytes: &[u8]) {
        let bars = self.bars.clone();
        aside(bars.as_ref(), || {
            // There is nowhere left to complain.
            let _ = self.err.write_all(bytes).and_then(|()| self.err.flush());
        });
    }
}

/// Writes while the bars, if there are any, are off the screen.
fn aside(bars: Option<&MultiProgress>, write: impl FnOnce()) {
    match bars {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

/// Returns one problem of the fleet file as compilers write theirs: `file:line:column: level: …`.
pub fn problem_line(path: &Path, problem: &Problem) -> String {
    let level = match problem.level {
        Level::Error => "error",
        Level::Warning => "warning",
    };
    let place = if problem.pointer.is_empty() {
        String::new()
    } else {
        format!(" at {}", problem.pointer)
    };
    let hint = match &problem.hint {
        Some(hint) => format!("; {hint}"),
        None => String::new(),
    };
    format!(
        "{}:{}:{}: {level}{place}: {}{hint}",
        path.display(),
        problem.line,
        problem.column,
        problem.message
    )
}

#[cfg(test)]
mod tests;
