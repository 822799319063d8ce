//! The only place that prints. Results go to stdout, notes and errors to stderr.
//!
//! A reader that went away (`head`) is no error: output stops, the work and the exit code do not.
//! Any other failure to write, such as a full disk, is kept and reported by [`Output::finish`].

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde::Serialize;

use super::args::{Colour, Global};
use super::error::{Failure, classify};
use super::exit::Exit;
use super::sanitize;
use super::table::Table;
use crate::fleet::file::{Level, Problem};

/// The version of everything printed as JSON.
pub const SCHEMA: u32 = 1;
/// Tables on a terminal that does not tell its width.
const USUAL_WIDTH: u16 = 80;

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

/// What the two streams are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    /// Width of the terminal behind stdout; none if it is no terminal.
    pub out_width: Option<u16>,
    /// Whether stderr is a terminal.
    pub err_terminal: bool,
    /// Whether stdout gets colour.
    pub out_colour: bool,
    /// Whether stderr gets colour.
    pub err_colour: bool,
    /// Whether notes are held back.
    pub quiet: bool,
}

/// Prints. Shared by reference or in an `Arc`; every call writes whole lines or nothing.
pub struct Output {
    format: Format,
    streams: Streams,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// The reader of stdout is gone.
    closed: bool,
    failed: Option<io::Error>,
    /// The one JSON document is printed.
    printed: bool,
}

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
        let out_terminal = io::stdout().is_terminal();
        let variable = |name: &str| std::env::var_os(name);
        let streams = Streams {
            out_width: out_terminal.then(terminal_width),
            err_terminal: io::stderr().is_terminal(),
            out_colour: format == Format::Human
                && wants_colour(global.colour, out_terminal, variable),
            err_colour: global.colour_on_stderr(),
            quiet: global.quiet,
        };
        Self::to(
            format,
            streams,
            Box::new(io::stdout()),
            Box::new(io::stderr()),
        )
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
            }),
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
        let mut text = serde_json::to_string_pretty(&Versioned {
            schema: SCHEMA,
            event: None,
            body,
        })?;
        text.push('\n');
        let mut state = self.state();
        debug_assert!(!state.printed, "--json prints exactly one document");
        if !std::mem::replace(&mut state.printed, true) {
            state.write_out(text.as_bytes());
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

    /// Asks for consent before something is changed or destroyed. `yes` is the `-y` flag.
    ///
    /// # Errors
    /// Without a terminal (code 2, naming `-y`), and on Ctrl-C (code 130).
    pub async fn confirm(&self, question: &str, yes: bool) -> Result<bool, Failure> {
        if yes {
            return Ok(true);
        }
        if !(io::stdin().is_terminal() && self.streams.err_terminal) {
            return Err(
                Failure::usage(format!("{question} There is no terminal to ask on"))
                    .hint("give -y to go on without being asked"),
            );
        }
        let text = sanitize::text(question);
        self.state().write_err(format!("{text} [y/N] ").as_bytes());
        // A thread of its own, not the runtime's: nothing can interrupt a read from a terminal.
        let (sender, answer) = tokio::sync::oneshot::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = io::stdin().lock().read_line(&mut line).map(|_| line);
            let _ = sender.send(read);
        });
        tokio::select! {
            answer = answer => match answer {
                Ok(Ok(line)) => Ok(matches!(line.trim(), "y" | "Y" | "yes" | "Yes")),
                Ok(Err(_)) | Err(_) => Ok(false),
            },
            _ = tokio::signal::ctrl_c() => {
                self.state().write_err(b"\n");
                Err(Failure::new(Exit::Interrupted, "stopped at the question; nothing was done"))
            }
        }
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

impl State {
    fn write_out(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        let written = self.out.write_all(bytes);
        self.take_result(written);
        self.flush_out();
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
        // There is nowhere left to complain.
        let _ = self.err.write_all(bytes).and_then(|()| self.err.flush());
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

/// Tells whether a stream gets colour: the flag, then NO_COLOR, CLICOLOR_FORCE, then the terminal.
pub fn wants_colour(
    flag: Colour,
    terminal: bool,
    variable: impl Fn(&str) -> Option<OsString>,
) -> bool {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    match flag {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto if given("NO_COLOR").is_some() => false,
        Colour::Auto if given("CLICOLOR_FORCE").is_some_and(|force| force != "0") => true,
        Colour::Auto => terminal && given("TERM").is_none_or(|term| term != "dumb"),
    }
}

fn terminal_width() -> u16 {
    let mut probe = comfy_table::Table::new();
    probe.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    probe
        .width()
        .filter(|width| *width > 0)
        .unwrap_or(USUAL_WIDTH)
}

/// What was printed, for tests of verbs.
#[derive(Debug, Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Returns what was printed so far.
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
