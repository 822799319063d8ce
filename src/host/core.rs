//! What the tasks of the daemon share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::kinds::Kinds;
use super::notice::{Hook, Notice};
use super::pace::Pace;
use super::results;
use super::runner::orders::Orders;
use super::runner::{Ran, Runner};
use super::services::{self, Services, Shared};
use super::settings::{OnLeaseLost, Settings};
use super::state::StateDir;
use super::watch::Watch;
use crate::client::holder::{Key, Logs, Report, Session, Table};
use crate::client::{self, Client};
use crate::protocol::api::{Code, LeaseName};
use crate::protocol::{HostId, JobId, Reason};
use crate::support::chain::chain;
use crate::support::clock::Clock;

/// How long the way to the coordinator that a file names is left alone at most.
const NEARBY: Duration = Duration::from_secs(3);

/// Why no work is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// The owner paused the host on the machine itself.
    pub paused: bool,
    /// A condition of the owner that does not hold.
    pub unmet: Option<String>,
    /// The conditions were looked at.
    pub known: bool,
}

impl Block {
    /// Returns the reason in words.
    pub(super) fn why(&self) -> Option<String> {
        if self.paused {
            return Some("paused on the machine".to_owned());
        }
        self.unmet.clone()
    }
}

pub(super) struct Core {
    pub settings: Settings,
    pub client: Client,
    pub state: StateDir,
    pub id: HostId,
    /// Counts on while the machine sleeps; not the time of day.
    pub steady: Arc<dyn Clock>,
    /// The time of day.
    pub wall: Arc<dyn Clock>,
    pub table: Table<Orders>,
    pub runner: Runner,
    pub watch: Arc<Watch>,
    pub kinds: Arc<Kinds>,
    pub capabilities: Vec<String>,
    pub session: watch::Sender<Option<Session>>,
    pub block: watch::Sender<Block>,
    pub stopping: watch::Sender<bool>,
    /// A heartbeat is wanted now.
    pub beat: Notify,
    /// A slot became free, or a lease is over.
    pub freed: Notify,
    /// A slot became free, and no result that is on its way brings the next job for it.
    pub vacant: Notify,
    /// A job is at hand for which no slot is free.
    pub held: Notify,
    /// Few jobs are at hand.
    pub low: Notify,
    pub pace: Pace,
    /// Held by whoever asks for work: two would ask for the same slot.
    pub asking: tokio::sync::Mutex<()>,
    /// Results cannot be handed in for now.
    pub stuck: AtomicBool,
    pub logs: Logs,
    pub reports: mpsc::UnboundedSender<Report>,
    /// How often each job was refused.
    pub refused: Mutex<HashMap<JobId, u32>>,
    pub profile: watch::Sender<Option<crate::protocol::api::OpenclawProfile>>,
    /// Services, if any are to run here.
    pub services: Option<Services>,
    hook: Arc<dyn Fn(Notice) + Send + Sync>,
    /// What was last said to be wrong with the coordinator.
    trouble: Mutex<Option<String>>,
}

/// What [`Core`] is made of.
pub(super) struct Parts {
    pub settings: Settings,
    pub client: Client,
    pub state: StateDir,
    pub id: HostId,
    pub steady: Arc<dyn Clock>,
    pub wall: Arc<dyn Clock>,
    pub runner: Runner,
    pub watch: Arc<Watch>,
    pub kinds: Kinds,
    pub capabilities: Vec<String>,
    pub reports: mpsc::UnboundedSender<Report>,
    pub hook: Hook,
}

impl Core {
    pub(super) fn new(parts: Parts) -> Self {
        let kinds = Arc::new(parts.kinds);
        let hook: Arc<dyn Fn(Notice) + Send + Sync> = Arc::from(parts.hook);
        let settings = &parts.settings;
        let runs = parts
            .capabilities
            .iter()
            .any(|word| word == services::CAPABILITY);
        let services = runs.then(|| {
            let shared = Shared {
                kinds: Arc::clone(&kinds),
                watch: Arc::clone(&parts.watch),
                tell: Arc::clone(&hook),
            };
            let home = services::home(parts.state.path());
            Services::new(&settings.services, home, settings.keep_failed, shared)
        });
        Self {
            services,
            table: Table::new(parts.settings.on_lease_lost == OnLeaseLost::Kill),
            logs: Logs::new(parts.settings.max_parallel),
            pace: Pace::new(parts.settings.short),
            settings: parts.settings,
            client: parts.client,
            state: parts.state,
            id: parts.id,
            steady: parts.steady,
            wall: parts.wall,
            runner: parts.runner,
            watch: parts.watch,
            kinds,
            capabilities: parts.capabilities,
            session: watch::Sender::new(None),
            block: watch::Sender::default(),
            stopping: watch::Sender::new(false),
            beat: Notify::new(),
            freed: Notify::new(),
            vacant: Notify::new(),
            held: Notify::new(),
            low: Notify::new(),
            asking: tokio::sync::Mutex::default(),
            stuck: AtomicBool::new(false),
            reports: parts.reports,
            refused: Mutex::default(),
            profile: watch::Sender::new(None),
            hook,
            trouble: Mutex::default(),
        }
    }

    pub(super) fn tell(&self, notice: Notice) {
        (self.hook)(notice);
    }

    /// Returns the session, once there is one.
    pub(super) async fn session(&self) -> Session {
        let mut sessions = self.session.subscribe();
        loop {
            if let Some(session) = sessions.borrow_and_update().clone() {
                return session;
            }
            if sessions.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until the daemon is to take no more work.
    pub(super) async fn stopping(&self) {
        let mut stopping = self.stopping.subscribe();
        if stopping.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns how long the coordinator is left alone at most when it does not answer, where `usual` is
    /// meant for one on another machine: to look at a file and a socket costs nothing.
    pub(super) fn longest_wait(&self, usual: Duration) -> Duration {
        if self.client.has_file() {
            usual.min(NEARBY)
        } else {
            usual
        }
    }

    /// Notes that a request worked.
    pub(super) fn works(&self) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.take().is_some() {
            self.tell(Notice::Back);
        }
    }

    /// Notes that a request failed: says so once, and registers again if the coordinator has forgotten us.
    pub(super) fn failed(&self, error: &client::Error) {
        if matches!(error.code(), Some(Code::UnknownHost | Code::HostIdInUse)) {
            tracing::info!(%error, "registering again");
            self.session.send_replace(None);
            return;
        }
        let text = chain(error);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.as_ref() != Some(&text) {
            self.tell(Notice::Trouble { text: text.clone() });
            *trouble = Some(text);
        }
    }

    /// Takes what came of an attempt: after its log, if there is one, it goes to the coordinator.
    pub(super) fn ended(&self, key: Key, lease: LeaseName, mut ran: Ran) {
        self.table.ended(key);
        self.pace
            .ended(Duration::from_millis(ran.result.duration_ms));
        // Slots know only the clock that nobody can set; results tell the time of day.
        ran.result.finished_at = self.wall.now();
        if let (Some(Reason::NotAllowed), Some(why)) = (ran.reason, &ran.result.error) {
            let (job, attempt) = key;
            let why = why.clone();
            self.tell(Notice::NotAllowed { job, attempt, why });
        }
        if ran.lost {
            tracing::info!(job = %lease.job_id, attempt = %lease.attempt, "ended because its lease was lost");
        }
        let report = results::report(lease, ran, self);
        let report = self.logs.finish(lease, report);
        let brings_work = report.is_some() && self.exchanges();
        if let Some(report) = report {
            self.report(report);
        }
        self.freed.notify_one();
        if !brings_work {
            self.vacant.notify_one();
        }
        if self.runs_low() {
            self.low.notify_one();
        }
    }

    /// Tells whether more work should be at hand soon, or none is to be.
    pub(super) fn runs_low(&self) -> bool {
        self.runner.waiting() <= usize::from(self.settings.max_parallel / 2)
    }

    /// Tells whether new work comes in the answer to results.
    fn exchanges(&self) -> bool {
        let session = self.session.borrow();
        session.as_ref().is_some_and(|session| session.exchange)
            && !self.stuck.load(Ordering::Relaxed)
    }

    /// Tells whether any work is wanted.
    pub(super) fn takes_work(&self) -> bool {
        let block = self.block.borrow();
        block.known && block.why().is_none() && !*self.stopping.borrow()
    }

    pub(super) fn report(&self, report: Report) {
        // The receiver lives as long as the daemon.
        let _ = self.reports.send(report);
    }

    /// Notes that a lease is over, one way or the other.
    pub(super) fn over(&self, key: Key) {
        self.table.remove(key);
        self.freed.notify_one();
        if !self.exchanges() {
            self.vacant.notify_one();
        }
    }
}
