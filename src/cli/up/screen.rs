//! The live view on a terminal: hosts, queue, running jobs and throughput, redrawn in place on stderr.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::output::{Format, Output};
use crate::cli::table::Table;
use crate::fleet::work::{Happened, State, View};
use crate::protocol::api::{HostRecord, HostState};
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
    rate: Rate,
}

/// What is seen of the coordinator.
#[derive(Debug, Default)]
pub struct Seen {
    /// Its hosts, nothing if they are not known.
    pub hosts: Option<Vec<HostRecord>>,
    /// What its queue has.
    pub counts: Option<GroupCounts>,
}

/// How many jobs ended lately, whoever ran them.
#[derive(Debug, Default)]
struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    fn take(&mut self, now: Instant, ended: u64) {
        self.0.push_back((now, ended));
        // The last one before the window stays: the window begins with what it says.
        while let Some((second, _)) = self.0.get(1)
            && now.duration_since(*second) >= WINDOW
        {
            self.0.pop_front();
        }
    }

    fn per_second(&self) -> f64 {
        let (Some((from, before)), Some((to, after))) = (self.0.front(), self.0.back()) else {
            return 0.0;
        };
        // Ended jobs are forgotten after some time.
        let ended = after.saturating_sub(*before);
        ended as f64 / to.duration_since(*from).as_secs_f64().max(1.0)
    }
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
            rate: Rate::default(),
        }
    }

    /// Tells whether anything is drawn at all.
    pub const fn is_drawn(&self) -> bool {
        self.drawn.is_some()
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
            }
            Happened::Host { .. } | Happened::Coordinator { .. } => {}
        }
    }

    /// Draws.
    pub fn draw(&mut self, hosts: &[View], seen: &Seen) {
        self.next = tokio::time::Instant::now() + EVERY;
        if let Some(counts) = seen.counts {
            self.rate
                .take(Instant::now(), counts.completed + counts.failed);
        }
        let Some((_, bar)) = &self.drawn else {
            return;
        };
        bar.set_message(self.text(hosts, seen));
        bar.tick();
    }

    fn text(&self, hosts: &[View], seen: &Seen) -> String {
        let width = self.output.streams().out_width.unwrap_or(80);
        let mut table = Table::new(["HOST", "STATE", "RUNNING", "OK", "FAILED", "WHY"]);
        let mut shown: Vec<(&View, Load)> = hosts
            .iter()
            .map(|view| (view, Load::of(view, seen.hosts.as_deref())))
            .collect();
        // What is wrong and what works comes first where not all have room.
        shown.sort_by_key(|(view, load)| {
            let works = matches!(view.state, State::Push | State::Pull);
            let quiet = works && load.running == 0 && load.why.is_empty();
            (quiet, view.name.clone())
        });
        for (view, load) in shown.into_iter().take(MOST_HOSTS) {
            table.row([
                view.name.to_string(),
                view.state.word().to_owned(),
                format!("{}/{}", load.running, load.slots),
                view.ok.to_string(),
                view.failed.to_string(),
                load.why,
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
        let (waiting, running) = seen
            .counts
            .map_or((0, 0), |counts| (counts.queued, counts.leased));
        let rate = self.rate.per_second();
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

/// What a host does now.
#[derive(Debug, PartialEq, Eq)]
struct Load {
    running: u64,
    slots: u16,
    why: String,
}

impl Load {
    fn of(view: &View, records: Option<&[HostRecord]>) -> Self {
        let own = |why: String| Self {
            running: view.running as u64,
            slots: view.slots,
            why,
        };
        match (&view.state, records) {
            (State::Down { error, .. }, _) => own(error.clone()),
            // Its daemon does not speak through us: only the coordinator knows of it.
            (State::Pull, Some(records)) => {
                let of_it = || {
                    records
                        .iter()
                        .filter(|host| host.name == view.name.as_str())
                };
                let live = of_it().find(|host| host.state == HostState::Live);
                match (live, of_it().next()) {
                    (Some(host), _) => Self {
                        running: u64::from(host.active_leases),
                        slots: host.max_parallel,
                        why: host.blocked.clone().unwrap_or_default(),
                    },
                    (None, Some(host)) => Self {
                        running: u64::from(host.active_leases),
                        slots: host.max_parallel,
                        why: "its daemon is silent".to_owned(),
                    },
                    (None, None) => own("its daemon has not called yet".to_owned()),
                }
            }
            (State::Pull, None)
            | (State::Connecting | State::Push | State::Draining | State::Gone, _) => {
                own(String::new())
            }
        }
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::file::HostName;

    fn record(state: HostState) -> HostRecord {
        let text = serde_json::json!({
            "id": "host_1", "name": "web1", "capabilities": [], "maxParallel": 4, "activeLeases": 3,
            "lastSeenAt": "2026-01-01T00:00:00.000Z", "registeredAt": "2026-01-01T00:00:00.000Z",
            "updatedBy": "c", "version": 1,
        });
        let record: HostRecord = serde_json::from_value(text).unwrap();
        HostRecord { state, ..record }
    }

    #[test]
    fn what_a_host_pulls_is_seen() {
        let mut view = View {
            name: HostName::new("web1").unwrap(),
            state: State::Pull,
            running: 0,
            slots: 1,
            ok: 0,
            failed: 0,
        };
        let seen = |view: &View, records: &[HostRecord]| {
            let load = Load::of(view, Some(records));
            (load.running, load.slots, load.why)
        };
        let (live, silent) = (record(HostState::Live), record(HostState::Stale));
        assert_eq!(
            seen(&view, &[]),
            (0, 1, "its daemon has not called yet".to_owned())
        );
        assert_eq!(
            seen(&view, &[silent.clone(), live.clone()]),
            (3, 4, String::new())
        );
        assert_eq!(
            seen(&view, &[silent]),
            (3, 4, "its daemon is silent".to_owned())
        );
        view.state = State::Push;
        assert_eq!(seen(&view, &[live]), (0, 1, String::new()));
    }

    #[test]
    fn throughput_is_counted_over_a_window() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), 0.0);
        let start = Instant::now();
        for second in 0..60 {
            rate.take(start + Duration::from_secs(second), 100 + 5 * second);
        }
        assert_eq!(rate.per_second(), 5.0);
        assert!(rate.0.len() < 20, "{rate:?}");
        // Old jobs were forgotten.
        rate.take(start + Duration::from_secs(60), 3);
        assert_eq!(rate.per_second(), 0.0);
    }
}
