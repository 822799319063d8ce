//! Shows a run while it happens: raw bytes for one host, whole prefixed lines for several, events for
//! programs.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::output::{Format, Output};
use super::perform::Outcome;
use super::progress::{Line, Progress};
use super::sanitize::Filter;
use super::summary;
use crate::fleet::report::{Status, TaskReport, Verdict};
use crate::fleet::run::RunEvent;
use crate::fleet::supervise::Stream;
use crate::protocol::GroupId;

/// A line without its end is shown after this much silence, so that prompts and progress are seen.
const PARTIAL_AFTER: Duration = Duration::from_millis(250);
/// A line longer than this is shown in pieces: memory must not grow with it.
const LONGEST_LINE: usize = 8 << 20;

/// How a run is shown.
#[derive(Debug)]
pub struct Show {
    /// Its id.
    pub run: GroupId,
    /// What makes it.
    pub kind: &'static str,
    /// One line about it.
    pub title: String,
    /// The names of its hosts, by position.
    pub names: Vec<String>,
    /// The task of each unit.
    pub tasks: Vec<usize>,
    /// Whether there is more than one host or task.
    pub several: bool,
    /// Whether output is shown while it comes.
    pub live: bool,
    /// Whether only the agent's answer is shown.
    pub strip: bool,
    /// Whether each host's output is shown at its end.
    pub group: bool,
    /// Whether control sequences reach the terminal.
    pub raw: bool,
}

/// One stream of one unit.
struct Lane {
    label: String,
    line: Vec<u8>,
    filter: Option<Filter>,
    silent_since: Instant,
}

struct Screen<'o> {
    show: &'o Show,
    output: &'o Output,
    lanes: BTreeMap<(usize, bool), Lane>,
    hosts: BTreeMap<usize, usize>,
    progress: &'o Progress<'o>,
    bars: BTreeMap<usize, Line>,
    outcome: Outcome,
    reports: BTreeMap<usize, TaskReport>,
}

impl Show {
    /// Shows events until both `carrying` and its events have ended; returns what both came to.
    pub async fn during<T>(
        &self,
        carrying: impl Future<Output = T>,
        mut events: mpsc::Receiver<RunEvent>,
        output: &Output,
        progress: &Progress<'_>,
    ) -> (T, Outcome) {
        let mut screen = Screen {
            show: self,
            output,
            lanes: BTreeMap::new(),
            hosts: BTreeMap::new(),
            progress,
            bars: BTreeMap::new(),
            outcome: Outcome {
                reports: Vec::new(),
                down: Vec::new(),
                unclean: Vec::new(),
                cause: None,
            },
            reports: BTreeMap::new(),
        };
        let showing = async {
            loop {
                let partial = screen.next_partial();
                tokio::select! {
                    event = events.recv() => match event {
                        Some(event) => screen.take(event),
                        None => break,
                    },
                    () = until(partial) => screen.flush_partials(),
                }
            }
            screen
        };
        let (carried, screen) = tokio::join!(carrying, showing);
        (carried, screen.into_outcome())
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

impl Screen<'_> {
    fn take(&mut self, event: RunEvent) {
        match event {
            RunEvent::Started { unit, host } => {
                self.hosts.insert(unit, host);
                if self.show.several {
                    let bar = self.progress.lines().host(self.name_of(unit), "running");
                    self.bars.insert(unit, bar);
                }
                self.event(
                    "start",
                    &json!({ "host": self.name_of(unit), "task": self.task_of(unit) }),
                );
            }
            RunEvent::Output {
                unit,
                stream,
                bytes,
            } => match self.output.format() {
                Format::Human => self.print(unit, stream, &bytes),
                Format::Ndjson => self.chunk(unit, stream, &bytes),
                Format::Json => {}
            },
            RunEvent::Ended { unit, report } => self.ended(unit, *report),
            RunEvent::Waiting { why } => {
                // In a script it would only be one more line that differs from run to run.
                if self.output.streams().err_terminal && self.output.format() == Format::Human {
                    self.output.note(&format!("still waiting: {why}"));
                }
            }
            RunEvent::HostDown { host, verdict } => {
                let told = self.host_event("host-down", host, &verdict);
                self.outcome.down.push(told);
            }
            RunEvent::NotCleaned { host, verdict } => {
                let told = self.host_event("not-cleaned", host, &verdict);
                self.outcome.unclean.push(told);
            }
        }
    }

    fn host_event(
        &self,
        event: &str,
        host: usize,
        verdict: &Verdict,
    ) -> (String, Status, String, Option<String>) {
        let name = self.show.names.get(host).cloned().unwrap_or_default();
        let (status, hint) = (verdict.status, verdict.hint.clone());
        let why = verdict.error.clone().unwrap_or_default();
        self.event(
            event,
            &json!({ "host": name, "status": status, "error": why, "hint": hint }),
        );
        (name, status, why, hint)
    }

    fn name_of(&self, unit: usize) -> &str {
        let host = self
            .hosts
            .get(&unit)
            .and_then(|host| self.show.names.get(*host));
        host.map_or("-", String::as_str)
    }

    fn task_of(&self, unit: usize) -> usize {
        self.show.tasks.get(unit).copied().unwrap_or(0)
    }

    fn event(&self, name: &str, body: &serde_json::Value) {
        if let Err(error) = self.output.event(name, body) {
            tracing::error!(%error, "cannot print event");
        }
    }

    fn chunk(&mut self, unit: usize, stream: Stream, bytes: &Bytes) {
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let mut body =
            json!({ "host": self.name_of(unit), "task": self.task_of(unit), "stream": name });
        if let Some(map) = body.as_object_mut() {
            summary::insert_bytes(map, "data", bytes);
        }
        self.event("chunk", &body);
    }

    fn print(&mut self, unit: usize, stream: Stream, bytes: &[u8]) {
        let is_stderr = stream == Stream::Stderr;
        let terminal = if is_stderr {
            self.output.streams().err_terminal
        } else {
            self.output.streams().out_width.is_some()
        };
        let label = self.label(unit);
        let raw = self.show.raw;
        let lane = self.lanes.entry((unit, is_stderr)).or_insert_with(|| Lane {
            label,
            line: Vec::new(),
            filter: (terminal && !raw).then(Filter::new),
            silent_since: Instant::now(),
        });
        lane.silent_since = Instant::now();
        let mut shown = Vec::new();
        let bytes = match &mut lane.filter {
            Some(filter) => {
                filter.push(bytes, &mut shown);
                shown.as_slice()
            }
            None => bytes,
        };
        if !self.show.several {
            return write(self.output, is_stderr, bytes);
        }
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            lane.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || lane.line.len() > LONGEST_LINE {
                lane.take_line(&mut lines);
            }
        }
        write(self.output, is_stderr, &lines);
    }

    fn label(&self, unit: usize) -> String {
        let many_tasks = self.show.tasks.iter().any(|task| *task > 0);
        match many_tasks {
            true => format!("[{}#{}] ", self.name_of(unit), self.task_of(unit) + 1),
            false => format!("[{}] ", self.name_of(unit)),
        }
    }

    fn next_partial(&self) -> Option<Instant> {
        let waiting = self.lanes.values().filter(|lane| !lane.line.is_empty());
        waiting.map(|lane| lane.silent_since + PARTIAL_AFTER).min()
    }

    fn flush_partials(&mut self) {
        let now = Instant::now();
        for ((_, is_stderr), lane) in &mut self.lanes {
            if !lane.line.is_empty() && lane.silent_since + PARTIAL_AFTER <= now {
                let mut lines = Vec::new();
                lane.take_line(&mut lines);
                write(self.output, *is_stderr, &lines);
            }
        }
    }

    fn ended(&mut self, unit: usize, report: TaskReport) {
        for is_stderr in [false, true] {
            if let Some(mut lane) = self.lanes.remove(&(unit, is_stderr)) {
                let mut rest = Vec::new();
                if let Some(filter) = &mut lane.filter {
                    filter.finish(&mut lane.line);
                }
                if self.show.several {
                    lane.take_line(&mut rest);
                } else {
                    rest = std::mem::take(&mut lane.line);
                }
                write(self.output, is_stderr, &rest);
            }
        }
        if self.output.format() == Format::Human && (self.show.group || self.show.strip) {
            summary::print_whole(&report, self.show, self.output);
        }
        self.event(
            "end",
            &summary::report_json(&report, false, self.show.strip),
        );
        self.bars.remove(&unit);
        self.progress.done();
        self.reports.insert(unit, report);
    }

    fn into_outcome(self) -> Outcome {
        Outcome {
            reports: self.reports.into_values().collect(),
            ..self.outcome
        }
    }
}

impl Lane {
    /// Moves the line to `out`, with its label before and a newline after it.
    fn take_line(&mut self, out: &mut Vec<u8>) {
        if self.line.is_empty() {
            return;
        }
        out.extend_from_slice(self.label.as_bytes());
        out.append(&mut self.line);
        if !out.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
}

fn write(output: &Output, is_stderr: bool, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if is_stderr {
        output.error_bytes(bytes)
    } else {
        output.bytes(bytes)
    }
}
