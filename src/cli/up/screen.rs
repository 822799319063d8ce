//! The live view on a terminal: hosts, queue, running jobs and throughput, redrawn in place on stderr.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::output::{Format, Output};
use crate::cli::table::Table;
use crate::fleet::work::{Happened, State, View};
use crate::protocol::{GroupCounts, JobId};
use crate::support::span;

/// How often it is drawn.
const EVERY: Duration = Duration::from_millis(500);
/// Over how long throughput is counted.
const WINDOW: Duration = Duration::from_secs(10);
/// How many hosts and jobs are shown at most.
const MOST_HOSTS: usize = 20;
const MOST_JOBS: usize = 8;

/// Tells whether anybody can see it.
pub fn is_drawn(output: &Output) -> bool {
    let streams = output.streams();
    streams.err_terminal && !streams.quiet && output.format() == Format::Human
}

/// The view. It is gone when it is finished.
pub struct Screen<'o> {
    output: &'o Output,
    drawn: Option<(MultiProgress, ProgressBar)>,
    next: tokio::time::Instant,
    running: BTreeMap<JobId, (String, String, Instant)>,
    /// When the latest jobs ended.
    ends: VecDeque<Instant>,
}

impl<'o> Screen<'o> {
    /// Starts to draw, if anybody can see it.
    pub fn start(output: &'o Output) -> Self {
        let drawn = is_drawn(output).then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let bar = all.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            output.print_around(Some(all.clone()));
            (all, bar)
        });
        Self {
            output,
            drawn,
            next: tokio::time::Instant::now(),
            running: BTreeMap::new(),
            ends: VecDeque::new(),
        }
    }

    /// Waits until it is time to draw. Never returns where nothing is drawn.
    pub async fn due(&self) {
        if self.drawn.is_none() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.next).await;
    }

    /// Takes note of what happens.
    pub fn happened(&mut self, happened: &Happened) {
        if self.drawn.is_none() {
            return;
        }
        match happened {
            Happened::Started { host, job, kind } => {
                let entry = (host.to_string(), kind.clone(), Instant::now());
                self.running.insert(*job, entry);
            }
            Happened::Ended { job, .. } => {
                self.running.remove(job);
                self.ends.push_back(Instant::now());
            }
            Happened::Host { .. } | Happened::Coordinator { .. } => {}
        }
    }

    /// Draws.
    pub fn draw(&mut self, hosts: &[View], counts: Option<GroupCounts>) {
        self.next = tokio::time::Instant::now() + EVERY;
        while self.ends.front().is_some_and(|at| at.elapsed() > WINDOW) {
            self.ends.pop_front();
        }
        let Some((_, bar)) = &self.drawn else {
            return;
        };
        bar.set_message(self.text(hosts, counts));
        bar.tick();
    }

    fn text(&self, hosts: &[View], counts: Option<GroupCounts>) -> String {
        let width = self.output.streams().out_width.unwrap_or(80);
        let mut table = Table::new(["HOST", "STATE", "RUNNING", "OK", "FAILED", "WHY"]);
        let mut shown: Vec<&View> = hosts.iter().collect();
        // What is wrong and what works comes first where not all have room.
        shown.sort_by_key(|view| {
            let quiet = view.state == State::Push && view.running == 0;
            (quiet, view.name.clone())
        });
        for view in shown.iter().take(MOST_HOSTS) {
            let why = match &view.state {
                State::Down { error, .. } => error.clone(),
                _ => String::new(),
            };
            table.row([
                view.name.to_string(),
                view.state.word().to_owned(),
                format!("{}/{}", view.running, view.slots),
                view.ok.to_string(),
                view.failed.to_string(),
                why,
            ]);
        }
        let mut text = table.drawn(width);
        if hosts.len() > MOST_HOSTS {
            text.push_str(&format!("and {} more hosts\n", hosts.len() - MOST_HOSTS));
        }
        for (job, (host, kind, since)) in self.running.iter().take(MOST_JOBS) {
            let took = span::human(Duration::from_secs(since.elapsed().as_secs()));
            text.push_str(&format!("  {host}: {job} {kind} {took}\n"));
        }
        if self.running.len() > MOST_JOBS {
            let more = self.running.len() - MOST_JOBS;
            text.push_str(&format!("  and {more} more jobs\n"));
        }
        let (waiting, running) = counts.map_or((0, 0), |counts| (counts.queued, counts.leased));
        let rate = self.ends.len() as f64 / WINDOW.as_secs_f64();
        text.push_str(&format!(
            "queue: {waiting} waiting, {running} running, {rate:.1} ended per second"
        ));
        text
    }

    /// Takes it off the screen.
    pub fn finish(&mut self) {
        if let Some((all, bar)) = self.drawn.take() {
            bar.finish_and_clear();
            let _ = all.clear();
            self.output.print_around(None);
        }
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}
