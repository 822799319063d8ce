//! What the tasks of one worker share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, watch};

use super::crowd::Crowd;
use super::lines::Lines;
use super::look::Seen;
use super::orders::Orders;
use super::roll::Roll;
use super::view::{Happened, State, View};
use super::{Means, claim};
use crate::client::holder::{Holder, Key, Logs, Report, Session, Table, key};
use crate::client::{self, Client};
use crate::fleet::file::{Host, HostName};
use crate::fleet::report::Status;
use crate::fleet::run::host_id;
use crate::fleet::seat::ControllerId;
use crate::protocol::HostId;
use crate::protocol::api::Code;
use crate::support::chain::chain;
use crate::support::clock::{Clock, SteadyClock, SystemClock};
use crate::support::shutdown::Shutdown;

/// One worker.
pub(super) struct Core {
    pub means: Arc<Means>,
    pub roll: Arc<Roll>,
    pub controller: ControllerId,
    pub name: HostName,
    /// What the fleet file says of it now.
    settings: Arc<watch::Sender<Arc<Host>>>,
    pub id: HostId,
    /// The controller stops; the host stays in its list, with what people have decided about it.
    pub ending: Shutdown,
    /// Counts on while the machine sleeps; not the time of day.
    pub steady: SteadyClock,
    pub table: Table<Orders>,
    pub crowd: Crowd,
    /// Connections by which the host is not reached any more, as long as jobs run there.
    left: Mutex<Vec<Weak<Lines>>>,
    logs: Logs,
    session: watch::Sender<Option<Session>>,
    /// What is known of the host, and that it should be registered; nothing if it should not.
    pub known: watch::Sender<Option<Seen>>,
    /// Why it takes no work.
    pub blocked: Mutex<Option<String>>,
    /// A heartbeat is wanted now.
    pub beat: Notify,
    /// There may be something to renew.
    pub held: Notify,
    /// A slot became free, or a lease is over.
    pub freed: Notify,
    reports: UnboundedSender<Report>,
    pub view: watch::Sender<View>,
    /// What was last said to be wrong with the coordinator.
    trouble: Mutex<Option<String>>,
}

impl Core {
    /// Returns a worker's shared part, and what it hands in.
    pub(super) fn new(
        (means, roll): (Arc<Means>, Arc<Roll>),
        controller: ControllerId,
        settings: Arc<watch::Sender<Arc<Host>>>,
        ending: Shutdown,
    ) -> (Self, UnboundedReceiver<Report>) {
        let host = settings.borrow().clone();
        let slots = claim::slots(&host);
        let (reports, inbox) = mpsc::unbounded_channel();
        let view = View {
            name: host.name.clone(),
            state: State::Connecting,
            running: 0,
            slots,
            ok: 0,
            failed: 0,
        };
        let core = Self {
            means,
            roll,
            controller,
            name: host.name.clone(),
            id: host_id(&host),
            settings,
            ending,
            steady: SteadyClock::start(),
            table: Table::new(true),
            crowd: Crowd::new(),
            left: Mutex::default(),
            logs: Logs::new(slots),
            session: watch::Sender::new(None),
            known: watch::Sender::new(Some(Seen::default())),
            blocked: Mutex::new(Some("not connected yet".to_owned())),
            beat: Notify::new(),
            held: Notify::new(),
            freed: Notify::new(),
            reports,
            view: watch::Sender::new(view),
            trouble: Mutex::default(),
        };
        (core, inbox)
    }

    /// Returns the shared part of a worker that takes the place of this one's, whose task has failed.
    pub(super) fn renewed(&self) -> (Self, UnboundedReceiver<Report>) {
        let (core, inbox) = Self::new(
            (Arc::clone(&self.means), Arc::clone(&self.roll)),
            self.controller.clone(),
            Arc::clone(&self.settings),
            self.ending.clone(),
        );
        let view = self.view.clone();
        (Self { view, ..core }, inbox)
    }

    /// Returns what the fleet file says of the host now.
    pub(super) fn host(&self) -> Arc<Host> {
        self.settings.borrow().clone()
    }

    /// Returns what the fleet file says of the host, as it changes.
    pub(super) fn settings(&self) -> watch::Receiver<Arc<Host>> {
        self.settings.subscribe()
    }

    /// Returns how many jobs run on the machine that the fleet file means now.
    pub(super) fn running(&self) -> usize {
        let host = self.host();
        let mut left = self.left();
        left.retain(|lines| lines.strong_count() > 0);
        let elsewhere = left.iter().filter_map(Weak::upgrade);
        let elsewhere = elsewhere.filter(|lines| !lines.are_of(&host));
        let elsewhere: usize = elsewhere.map(|lines| lines.taken()).sum();
        self.table.running().saturating_sub(elsewhere)
    }

    /// Lets what runs over these connections go on there, and begins no more.
    pub(super) fn leave_to_itself(&self, lines: &Arc<Lines>) {
        self.left().push(Arc::downgrade(lines));
    }

    fn left(&self) -> MutexGuard<'_, Vec<Weak<Lines>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many jobs the host runs at once.
    pub(super) fn slots(&self) -> u16 {
        claim::slots(&self.settings.borrow())
    }

    /// Has the host registered anew, because the fleet file says something else of it now.
    pub(super) fn changed(&self) {
        let slots = self.slots();
        self.view.send_modify(|view| view.slots = slots);
        self.session.send_replace(None);
    }

    /// Takes note of how the host stands, and says so if that is new.
    pub(super) fn stands(&self, state: State) {
        let changed = self.view.send_if_modified(|view| {
            let changed = view.state != state;
            view.state = state.clone();
            changed
        });
        if changed {
            let host = self.name.clone();
            (self.means.tell)(Happened::Host { host, state });
        }
    }

    /// Takes work from now on, or says why not.
    pub(super) fn block(&self, why: Option<String>) {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        if *blocked != why {
            *blocked = why;
            drop(blocked);
            self.beat.notify_one();
            self.held.notify_one();
        }
    }

    /// Returns why it takes no work.
    pub(super) fn why_blocked(&self) -> Option<String> {
        self.blocked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Registers with what was seen, unless the coordinator knows it already. Tells whether it did not.
    pub(super) fn introduce(&self, seen: Option<Seen>) -> bool {
        let changed = self.known.send_if_modified(|known| {
            let changed = known.as_ref().map(|known| &known.capabilities)
                != seen.as_ref().map(|seen| &seen.capabilities);
            *known = seen;
            changed
        });
        if changed {
            self.session.send_replace(None);
        }
        changed
    }

    /// Tells whether the host is in the coordinator's list under its own name, or about to be.
    pub(super) fn stands_in(&self) -> bool {
        self.known.borrow().is_some()
    }

    /// Takes over what was agreed.
    pub(super) fn agreed(&self, session: Option<Session>) {
        self.session.send_replace(session);
    }

    /// Returns what was agreed as it changes.
    pub(super) fn sessions(&self) -> watch::Receiver<Option<Session>> {
        self.session.subscribe()
    }

    /// Notes that a job begins.
    pub(super) fn started(&self, happened: Happened) {
        self.view.send_modify(|view| view.running += 1);
        (self.means.tell)(happened);
    }

    /// Notes that a job is over.
    pub(super) fn ended(&self, happened: Happened) {
        self.view.send_modify(|view| {
            view.running = view.running.saturating_sub(1);
            match &happened {
                Happened::Ended {
                    status: Status::Ok, ..
                } => view.ok += 1,
                _ => view.failed += 1,
            }
        });
        (self.means.tell)(happened);
    }

    /// Takes what came of an attempt: after its log, if there is one, it goes to the coordinator.
    pub(super) fn done(&self, report: Report) {
        self.table.ended(key(&report.lease));
        if let Some(report) = self.logs.finish(report.lease, report) {
            self.report(report);
        }
        self.freed.notify_one();
    }

    /// Notes that a lease is over, one way or the other.
    pub(super) fn forget(&self, key: Key) {
        self.table.remove(key);
        self.freed.notify_one();
    }

    /// Gives up an attempt whose task has failed: its lease runs out.
    pub(super) fn abandoned(&self, key: Key) {
        tracing::error!(host = %self.name, job = %key.0, "what ran a job has failed; its lease is left to run out");
        self.forget(key);
        self.view
            .send_modify(|view| view.running = self.table.running());
    }

    /// Waits until `holds`; looks whenever something ended.
    pub(super) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let freed = self.freed.notified();
            if holds(self) {
                return;
            }
            // The claim loop listens too, and may take the notice.
            tokio::select! {
                () = freed => {}
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
    }

    /// Returns the time of day.
    pub(super) fn now(&self) -> crate::support::clock::Timestamp {
        SystemClock.now()
    }
}

impl Holder for Core {
    fn client(&self) -> &Client {
        &self.means.client
    }

    fn logs(&self) -> &Logs {
        &self.logs
    }

    async fn session(&self) -> Session {
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

    fn works(&self) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.take().is_some() {
            let host = self.name.clone();
            (self.means.tell)(Happened::Coordinator { host, error: None });
        }
    }

    fn failed(&self, error: &client::Error) {
        if matches!(error.code(), Some(Code::UnknownHost)) {
            tracing::info!(host = %self.name, %error, "registering again");
            self.session.send_replace(None);
            return;
        }
        let text = chain(error);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.as_ref() != Some(&text) {
            let host = self.name.clone();
            (self.means.tell)(Happened::Coordinator {
                host,
                error: Some(text.clone()),
            });
            *trouble = Some(text);
        }
    }

    fn report(&self, report: Report) {
        // The receiver lives as long as the worker.
        let _ = self.reports.send(report);
    }

    fn over(&self, report: &Report, kept: bool) {
        if !kept {
            tracing::info!(host = %self.name, job = %report.lease.job_id, "the lease was lost; its result is put aside");
        }
        self.forget(key(&report.lease));
    }
}
