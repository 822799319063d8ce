//! The loop that follows a run: hears what happens to its jobs, looks after hosts that are away, and gives every
//! unit its one report.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::attend::{Attendant, Seen, Shared};
use super::feed::News;
use super::names::{Names, Roll, Step};
use super::{Course, Error, PATIENCE, Place, jobs};
use crate::client::{self, Client};
use crate::fleet::recall;
use crate::fleet::report::{Status, TaskReport, Verdict};
use crate::fleet::run::RunEvent;
use crate::protocol::JobId;
use crate::protocol::api::{CancelJobs, Event};
use crate::support::clock::{Clock, SystemClock};
use crate::support::shutdown::{Shutdown, Urgency};

/// How often we look at what no event tells: hosts that are away, and whether we missed something.
const LOOK: Duration = Duration::from_secs(1);
/// After so long it is told why a host does not take its task.
const SILENCE: Duration = Duration::from_secs(3);
/// Every so many looks everything is looked at.
const LOOKS: u32 = 10;
/// What tasks get beyond their grace to be reported as ended.
const LAST_CALL: Duration = Duration::from_secs(5);
/// How long a cancel may take once the user has asked twice to go.
const LEAVE: Duration = Duration::from_secs(1);
/// Log streams that are open at once.
const STREAMS: usize = 256;
/// Records that are asked for at once.
const ASKS: usize = 16;

/// Where one task stands for us.
#[derive(Debug, Default)]
struct State {
    /// Its attendant, once somebody took it.
    seen: Option<watch::Sender<Seen>>,
    /// Its report was given.
    told: bool,
}

pub(super) struct Follower {
    shared: Arc<Shared>,
    units: HashMap<JobId, usize>,
    states: Vec<State>,
    attendants: JoinSet<Result<TaskReport, client::Error>>,
    /// Which unit each of them attends.
    attended: HashMap<task::Id, usize>,
    /// Hosts that we try to reach, and why we cannot.
    tries: JoinSet<(usize, Option<Verdict>)>,
    /// What to do about hosts that were given up.
    hints: HashMap<usize, (Status, String)>,
    /// How many have no report yet.
    open: usize,
    roll: Roll,
    deadline: Option<Instant>,
    leave_at: Option<Instant>,
    /// Since when the coordinator says nothing.
    away_since: Option<Instant>,
    /// When it is told why a host does not take its task, if that was not told yet.
    explain_at: Option<Instant>,
}

impl Follower {
    /// Follows `course` from now on.
    pub(super) fn new(course: Course, client: Client, events: mpsc::Sender<RunEvent>) -> Self {
        let deadline = course.deadline.map(|span| Instant::now() + span);
        let roll = Roll::new(course.connect);
        let by_job = (0..).zip(&course.places);
        let units = by_job.map(|(at, place)| (place.job, at)).collect();
        let states: Vec<State> = course.places.iter().map(|_| State::default()).collect();
        let shared = Arc::new(Shared {
            course,
            client,
            events,
            names: Names::default(),
            streams: Semaphore::new(STREAMS),
            asks: Semaphore::new(ASKS),
        });
        let open = states.len();
        Self {
            shared,
            units,
            states,
            attendants: JoinSet::new(),
            attended: HashMap::new(),
            tries: JoinSet::new(),
            hints: HashMap::new(),
            open,
            roll,
            deadline,
            leave_at: None,
            away_since: None,
            explain_at: Some(Instant::now() + SILENCE),
        }
    }

    pub(super) async fn run(
        &mut self,
        mut news: mpsc::Receiver<News>,
        shutdown: &mut Shutdown,
    ) -> Result<(), Error> {
        let mut awaited = Urgency::Stop;
        let mut looks = 0;
        let mut look_at = Instant::now() + LOOK;
        while self.open > 0 {
            tokio::select! {
                biased;
                () = shutdown.reached(awaited) => {
                    let asked = self.cancel(Status::Cancelled, recall::NOT_STARTED, Vec::new());
                    if shutdown.urgency() >= Urgency::Now {
                        // Stay until it is on its way: gone before, it would not be sent.
                        let _ = tokio::time::timeout(LEAVE, asked).await;
                        break;
                    }
                    awaited = Urgency::Now;
                    self.leave_at = Some(Instant::now() + self.shared.course.grace + LAST_CALL);
                    tokio::spawn(asked);
                }
                () = at(self.leave_at) => break,
                () = at(self.deadline) => {
                    self.deadline = None;
                    tokio::spawn(self.cancel(Status::Skipped, recall::DEADLINE, Vec::new()));
                }
                Some(done) = self.attendants.join_next_with_id() => self.attended(done).await?,
                Some(tried) = self.tries.join_next() => match tried {
                    Ok((at, Some(verdict))) => self.give_up(at, verdict).await,
                    Ok((at, None)) => self.roll.reached(at),
                    Err(_) => {}
                },
                heard = news.recv() => self.hear(heard).await?,
                () = sleep_until(look_at) => {
                    looks += 1;
                    if looks % LOOKS == 0 {
                        self.check().await;
                    }
                    self.look_for_hosts().await;
                    self.explain().await;
                    look_at = Instant::now() + LOOK;
                }
            }
        }
        self.end_leftovers(shutdown).await;
        Ok(())
    }

    /// Tells what an attendant brings.
    async fn attended(
        &mut self,
        done: Result<(task::Id, Result<TaskReport, client::Error>), task::JoinError>,
    ) -> Result<(), Error> {
        let (id, report) = match done {
            Ok((id, report)) => (id, Some(report.map_err(|source| self.away(source))?)),
            Err(error) => {
                tracing::error!(%error, "a task cannot be attended any longer");
                (error.id(), None)
            }
        };
        let Some(unit) = self.attended.remove(&id) else {
            return Ok(());
        };
        match report {
            Some(report) => self.tell(unit, report).await,
            // What became of it stands in the run's record.
            None => self.tell_without(unit, Status::Lost, UNATTENDED).await,
        }
        Ok(())
    }

    async fn hear(&mut self, news: Option<News>) -> Result<(), Error> {
        match news {
            Some(News::Event(event)) => {
                self.away_since = None;
                self.take(event);
            }
            Some(News::Missed) => {
                self.away_since = None;
                // If that fails too, the next look does it.
                if let Err(error) = self.catch_up().await {
                    tracing::debug!(%error, "cannot catch up with the run");
                }
            }
            Some(News::Away(source)) => {
                let since = *self.away_since.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    return Err(self.away(source));
                }
            }
            // The listener ends only with us; if it does not, the looks go on.
            None => tokio::time::sleep(LOOK).await,
        }
        Ok(())
    }

    pub(super) fn away(&self, source: client::Error) -> Error {
        Error::Away {
            run: self.shared.course.group,
            source,
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::JobLeased {
                job_id,
                attempt,
                host_id,
                ..
            } => self.note(job_id, |seen| seen.holder = Some((host_id, attempt))),
            Event::JobEnded { job_id, .. } => self.note(job_id, |seen| seen.ended = true),
            Event::JobReady { .. }
            | Event::JobCancelAsked { .. }
            | Event::HostRegistered { .. }
            | Event::HostChanged { .. }
            | Event::ServiceChanged { .. }
            | Event::Gap { .. } => {}
        }
    }

    /// Passes on what became of a job to its attendant, who is there from then on.
    fn note(&mut self, job: JobId, change: impl FnOnce(&mut Seen)) {
        let Some(unit) = self.units.get(&job).copied() else {
            return;
        };
        let (Some(state), Some(place)) = (
            self.states.get_mut(unit),
            self.shared.course.places.get(unit),
        ) else {
            return;
        };
        if state.told {
            return;
        }
        match &state.seen {
            Some(seen) => seen.send_modify(change),
            None => {
                let mut first = Seen::default();
                change(&mut first);
                let (sender, seen) = watch::channel(first);
                state.seen = Some(sender);
                let attendant = Attendant::new(&self.shared, unit, place.clone(), seen);
                let attending = self.attendants.spawn(attendant.attend());
                self.attended.insert(attending.id(), unit);
            }
        }
    }

    /// Reads where all jobs stand.
    pub(super) async fn catch_up(&mut self) -> Result<(), client::Error> {
        for job in jobs(&self.shared.client, self.shared.course.group).await? {
            if job.status.is_final() {
                self.note(job.id, |seen| seen.ended = true);
            } else if let Some(host) = job.assigned_host_id.clone() {
                let attempt = job.attempts;
                self.note(job.id, |seen| seen.holder = Some((host, attempt)));
            }
        }
        Ok(())
    }

    /// Catches up if more has ended than we were told.
    async fn check(&mut self) {
        let group = self.shared.client.group(self.shared.course.group).await;
        let ended = match group {
            Ok(group) => group.counts.completed + group.counts.failed,
            Err(error) => return tracing::debug!(%error, "cannot look at the run"),
        };
        let noted = |state: &&State| {
            state.told || state.seen.as_ref().is_some_and(|seen| seen.borrow().ended)
        };
        let known = self.states.iter().filter(noted).count();
        if ended > known as u64
            && let Err(error) = self.catch_up().await
        {
            tracing::debug!(%error, "cannot catch up with the run");
        }
    }

    /// Gives up hosts that are not there, and what only they could have run.
    async fn look_for_hosts(&mut self) {
        let shared = Arc::clone(&self.shared);
        let course = &shared.course;
        let waiting: Vec<&Place> = self
            .states
            .iter()
            .zip(&course.places)
            .filter(|(state, _)| !state.told && state.seen.is_none())
            .map(|(_, place)| place)
            .collect();
        if waiting.is_empty() || self.leave_at.is_some() {
            return;
        }
        let hosts = match shared.client.hosts().await {
            Ok(hosts) => hosts,
            Err(error) => return tracing::debug!(%error, "the hosts cannot be listed"),
        };
        for step in self.roll.call(course, &waiting, &hosts) {
            match (step, &course.reach) {
                (Step::GiveUp(at, verdict), _) => self.give_up(at, verdict).await,
                (Step::Try(at), Some(reach)) => {
                    let (links, host) = (reach.links.clone(), reach.hosts.get(at).cloned());
                    self.tries.spawn(async move {
                        let Some(host) = host else { return (at, None) };
                        let failed = links.open(&host).await.err();
                        (at, failed.as_ref().map(Verdict::of_error))
                    });
                }
                (Step::Try(_), None) => {}
            }
        }
    }

    /// Tells once why a task waits that only one host can take, if that host has taken none of ours.
    async fn explain(&mut self) {
        if self.explain_at.is_none_or(|at| at > Instant::now()) || self.leave_at.is_some() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let all = || self.states.iter().zip(&shared.course.places);
        let begun: HashSet<usize> = all()
            .filter(|(state, _)| state.told || state.seen.is_some())
            .filter_map(|(_, place)| place.host)
            .collect();
        let waits = |place: &&Place| {
            let host = place.host.filter(|at| !self.roll.is_out(*at));
            host.is_some_and(|at| !begun.contains(&at))
        };
        let Some(place) = all().map(|(_, place)| place).find(waits) else {
            return;
        };
        match shared.client.explain(place.job).await {
            Ok(explained) => {
                self.explain_at = None;
                let why = explained.summary;
                let _ = shared.events.send(RunEvent::Waiting { why }).await;
            }
            Err(error) => tracing::debug!(%error, "nobody says why a task waits"),
        }
    }

    /// Ends what only this host could have run, or says that it is out.
    async fn give_up(&mut self, at: usize, verdict: Verdict) {
        let shared = Arc::clone(&self.shared);
        let course = &shared.course;
        self.roll.give_up(at);
        let pinned = course.places.iter().filter(|place| place.host == Some(at));
        let pinned: Vec<JobId> = pinned.map(|place| place.job).collect();
        if !pinned.is_empty() {
            let why = verdict.error.unwrap_or_default();
            tokio::spawn(self.cancel(verdict.status, &why, pinned));
            // The record has no place for it.
            if let Some(hint) = verdict.hint {
                self.hints.insert(at, (verdict.status, hint));
            }
            return;
        }
        let verdict = Box::new(verdict);
        let event = RunEvent::HostDown { host: at, verdict };
        let _ = shared.events.send(event).await;
        if (0..course.names.len()).all(|at| self.roll.is_out(at)) {
            let waiting = self.states.iter().zip(&course.places);
            let left: Vec<JobId> = waiting
                .filter(|(state, _)| !state.told && state.seen.is_none())
                .map(|(_, place)| place.job)
                .collect();
            if !left.is_empty() {
                tokio::spawn(self.cancel(Status::Skipped, NO_HOST, left));
            }
        }
    }

    /// Takes these jobs back, or all; with the words for those that have not started.
    fn cancel(
        &self,
        status: Status,
        why: &str,
        ids: Vec<JobId>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let grace = self.shared.course.grace.as_millis();
        let cancel = CancelJobs {
            group: ids.is_empty().then_some(self.shared.course.group),
            ids,
            grace_ms: u64::try_from(grace).ok(),
            reason: Some(format!("{}: {why}", status.as_str())),
        };
        let client = self.shared.client.clone();
        async move {
            let since = Instant::now();
            while let Err(error) = client.cancel(&cancel).await {
                if !error.retry_helps() || since.elapsed() > PATIENCE {
                    return tracing::warn!(%error, "jobs could not be taken back");
                }
                tokio::time::sleep(LEAVE / 2).await;
            }
        }
    }

    async fn tell(&mut self, unit: usize, mut report: TaskReport) {
        let Some(state) = self.states.get_mut(unit).filter(|state| !state.told) else {
            return;
        };
        state.told = true;
        let host = self
            .shared
            .course
            .places
            .get(unit)
            .and_then(|place| place.host);
        if let Some((status, hint)) = host.and_then(|at| self.hints.get(&at))
            && *status == report.status
        {
            report.hint = Some(hint.clone());
        }
        self.open = self.open.saturating_sub(1);
        let report = Box::new(report);
        let _ = self
            .shared
            .events
            .send(RunEvent::Ended { unit, report })
            .await;
    }

    /// Reports what nobody has confirmed by the time we leave.
    async fn end_leftovers(&mut self, shutdown: &Shutdown) {
        // Nobody else may tell any more.
        self.attendants.shutdown().await;
        debug_assert!(self.open == 0 || shutdown.urgency() > Urgency::Running);
        let shared = Arc::clone(&self.shared);
        for unit in 0..shared.course.places.len() {
            let started = match self.states.get(unit) {
                Some(state) if !state.told => state.seen.is_some(),
                Some(_) | None => continue,
            };
            let why = match started {
                true => recall::UNCONFIRMED,
                false => recall::NOT_STARTED,
            };
            self.tell_without(unit, Status::Cancelled, why).await;
        }
    }

    /// Tells the end of a task of which nothing else is known.
    async fn tell_without(&mut self, unit: usize, status: Status, why: &str) {
        let shared = Arc::clone(&self.shared);
        let Some(place) = shared.course.places.get(unit) else {
            return;
        };
        let host = place.host.and_then(|at| shared.course.names.get(at));
        let report = TaskReport::without_output(
            host.cloned(),
            place.task,
            place.job,
            Verdict::because(status, why),
            SystemClock.now(),
        );
        self.tell(unit, report).await;
    }
}

/// Why nothing is known of a task that was followed.
const UNATTENDED: &str = "an error in skyclaw: it cannot be followed any longer";
/// Why a task that any host could take was not run.
const NO_HOST: &str = "no host was left to run it";

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}
