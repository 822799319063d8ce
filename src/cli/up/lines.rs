//! What happens, as lines: for people where nothing is redrawn, or as JSON.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cli::output::{Format, Output};
use crate::fleet::file::HostName;
use crate::fleet::work::{Happened, State};
use crate::support::span;

/// Prints what happens.
pub struct Lines<'o> {
    output: &'o Output,
    /// Only what changes for hosts: jobs would fill a log.
    brief: bool,
    ok: u64,
    failed: u64,
    downs: Downs,
}

/// Which hosts were said to be down, and why: they are tried again and again.
#[derive(Debug, Default)]
struct Downs(BTreeMap<HostName, String>);

impl Downs {
    /// Tells whether it was not said yet.
    fn is_news(&mut self, host: &HostName, state: &State) -> bool {
        match state {
            State::Connecting => true,
            State::Down { error, .. } => {
                self.0.insert(host.clone(), error.clone()).as_ref() != Some(error)
            }
            State::Push | State::Pull | State::Draining | State::Gone => {
                self.0.remove(host);
                true
            }
        }
    }
}

impl<'o> Lines<'o> {
    /// Prints to `output`; with `brief` nothing about single jobs.
    pub fn new(output: &'o Output, brief: bool) -> Self {
        // On a terminal the screen shows what runs.
        let brief = brief || super::screen::is_drawn(output);
        Self {
            output,
            brief,
            ok: 0,
            failed: 0,
            downs: Downs::default(),
        }
    }

    /// Prints it.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn happened(&mut self, happened: &Happened) -> anyhow::Result<()> {
        if let Happened::Ended { status, .. } = happened {
            if *status == crate::fleet::report::Status::Ok {
                self.ok += 1;
            } else {
                self.failed += 1;
            }
        }
        match self.output.format() {
            Format::Ndjson => self.event(happened),
            Format::Json => Ok(()),
            Format::Human => {
                if let Some(text) = self.text(happened) {
                    self.output.line(&format!("[skyclaw] {text}"));
                }
                Ok(())
            }
        }
    }

    fn event(&self, happened: &Happened) -> anyhow::Result<()> {
        let mut body = serde_json::to_value(happened)?;
        let name = body
            .as_object_mut()
            .and_then(|map| map.remove("event"))
            .and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default();
        self.output.event(&name, &body)
    }

    fn text(&mut self, happened: &Happened) -> Option<String> {
        Some(match happened {
            Happened::Host { host, state } if !self.downs.is_news(host, state) => return None,
            Happened::Host { host, state } => match state {
                State::Connecting => return None,
                State::Down { error, .. } => format!("{host}: down: {error}"),
                State::Push => format!("{host}: ready, jobs are pushed"),
                State::Pull => format!("{host}: its daemon pulls"),
                State::Draining => format!("{host}: finishes what it has"),
                State::Gone => format!("{host}: gone"),
            },
            Happened::Started { .. } => return None,
            Happened::Ended {
                host,
                job,
                status,
                duration_ms,
                error,
            } => {
                if self.brief {
                    return None;
                }
                let took = span::human(std::time::Duration::from_millis(*duration_ms));
                let why = error.as_ref().map(|why| format!(": {why}"));
                let why = why.unwrap_or_default();
                format!("{host}: {job} {} in {took}{why}", status.as_str())
            }
            Happened::Coordinator { host, error } => match error {
                Some(error) => format!("{host}: the coordinator cannot be asked: {error}"),
                None => format!("{host}: the coordinator answers again"),
            },
        })
    }

    /// Prints the end.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn finish(&self) -> anyhow::Result<()> {
        let body = json!({ "ok": self.ok, "failed": self.failed });
        self.output.event("down", &body)?;
        self.output.document(&body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::clock::{Clock, SystemClock};

    #[test]
    fn why_a_host_is_down_is_said_once() {
        let mut downs = Downs::default();
        let host = HostName::new("web1").unwrap();
        let down = |error: &str| State::Down {
            error: error.to_owned(),
            retry_at: SystemClock.now(),
        };
        let states = [
            (down("refused"), true),
            (State::Connecting, true),
            (down("refused"), false),
            (down("no route"), true),
            (State::Push, true),
            (down("no route"), true),
        ];
        for (state, news) in states {
            assert_eq!(downs.is_news(&host, &state), news, "{state:?}");
        }
    }
}
