//! Progress of work on many hosts: a total, and a line for each host that is being worked on.
//!
//! Drawn on stderr, and only where a person looks: never with `-q`, in the JSON formats or off a
//! terminal. While bars are drawn, [`Output`] prints around them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{Format, Output};
use super::sanitize;

/// More lines than this tell nobody anything; the total still counts every host.
const MOST_LINES: usize = 12;

/// The bars of one run. They are gone when it is dropped.
pub struct Progress<'o> {
    output: &'o Output,
    bars: Option<Bars>,
}

/// Makes lines; clones draw on the same screen.
#[derive(Clone)]
pub struct Lines(Option<Bars>);

/// The line of one host. It is gone when it is dropped.
pub struct Line {
    bar: Option<ProgressBar>,
    bars: Option<Bars>,
}

#[derive(Clone)]
struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    drawn: Arc<AtomicUsize>,
}

impl<'o> Progress<'o> {
    /// Starts to show progress of `verb` on `hosts` hosts, if anybody can see it.
    pub fn start(output: &'o Output, verb: &str, hosts: usize) -> Self {
        let streams = output.streams();
        let seen = streams.err_terminal && !streams.quiet && output.format() == Format::Human;
        let bars = seen.then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let total = ProgressBar::new(u64::try_from(hosts).unwrap_or(u64::MAX));
            let total = all.add(total.with_message(verb.to_owned()));
            total.set_style(style("{msg} [{bar:24}] {pos}/{len}"));
            total.tick();
            Bars {
                all,
                total,
                drawn: Arc::default(),
            }
        });
        if let Some(bars) = &bars {
            output.print_around(Some(bars.all.clone()));
        }
        Self { output, bars }
    }

    /// Shows nothing, for work whose own output is the progress.
    pub fn none(output: &'o Output) -> Self {
        Self { output, bars: None }
    }

    /// Returns what makes lines, for work that runs elsewhere.
    pub fn lines(&self) -> Lines {
        Lines(self.bars.clone())
    }

    /// Counts one host as done.
    pub fn done(&self) {
        if let Some(bars) = &self.bars {
            bars.total.inc(1);
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bars) = &self.bars {
            bars.total.finish_and_clear();
            let _ = bars.all.clear();
            self.output.print_around(None);
        }
    }
}

impl Lines {
    /// Shows that work on `host` has begun.
    pub fn host(&self, host: &str, step: &str) -> Line {
        let Some(bars) = self.0.clone() else {
            return Line {
                bar: None,
                bars: None,
            };
        };
        let place = bars.drawn.fetch_add(1, Ordering::Relaxed);
        let bar = (place < MOST_LINES).then(|| {
            let bar = bars
                .all
                .insert_before(&bars.total, ProgressBar::new_spinner());
            bar.set_style(style("  {prefix}: {msg}"));
            bar.set_prefix(host.to_owned());
            bar
        });
        let line = Line {
            bar,
            bars: Some(bars),
        };
        line.step(step);
        line
    }
}

impl Line {
    /// Shows what is being done now.
    pub fn step(&self, step: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(sanitize::one_line(step).into_owned());
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if let Some(bars) = &self.bars {
            bars.drawn.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // Only a template that cannot be read fails, and then the usual one will do.
    ProgressStyle::with_template(template).map_or_else(
        |_| ProgressStyle::default_bar(),
        |s| s.progress_chars("=> "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Captured, Streams};

    fn shown(format: Format, terminal: bool, quiet: bool) -> bool {
        let streams = Streams {
            out_width: None,
            err_terminal: terminal,
            out_colour: false,
            err_colour: false,
            quiet,
        };
        let captured = Captured::default();
        let output = Output::to(
            format,
            streams,
            Box::new(captured.clone()),
            Box::new(captured.clone()),
        );
        let progress = Progress::start(&output, "status", 3);
        let line = progress.lines().host("web1", "connect");
        line.step("ask");
        output.line("a result between the bars");
        drop(line);
        progress.done();
        assert_eq!(captured.text().is_empty(), format != Format::Human);
        progress.bars.is_some()
    }

    #[test]
    fn only_where_a_person_looks() {
        assert!(shown(Format::Human, true, false));
        assert!(!shown(Format::Human, false, false));
        assert!(!shown(Format::Human, true, true));
        assert!(!shown(Format::Json, true, false));
        assert!(!shown(Format::Ndjson, true, false));
    }
}
