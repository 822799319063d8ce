//! All assignments of this host: what the coordinator hears of them, and what its answer changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::instance::Instance;
use super::means::{Means, News, Times};
use super::orders::Order;
use super::ports::Ports;
use super::{ServiceSettings, Shared};
use crate::host::control::LocalService;
use crate::protocol::api::{
    AssignmentReport, Phase, SyncServices, SyncedServices, Want, WantedLogs,
};

/// The output that readers wait for, by assignment.
pub(super) type Wants = BTreeMap<String, WantedLogs>;

/// So many directories of services that failed are kept.
const MOST_FAILED: usize = 20;

/// The services of this host.
pub(in crate::host) struct Services {
    /// Where their files are.
    home: PathBuf,
    /// The start of their addresses.
    base: Option<String>,
    means: Arc<Means>,
    table: Mutex<BTreeMap<String, Arc<Instance>>>,
    /// The directory of the last one that failed of each name, for the machine's owner; the oldest first.
    failed: Mutex<Vec<(String, PathBuf)>>,
    /// Those that are over and whose output somebody reads.
    read: Mutex<BTreeMap<String, Arc<Instance>>>,
    /// What readers wait for.
    pub(super) wants: watch::Sender<Wants>,
    /// How much of the news the coordinator has heard.
    pub(super) told: watch::Sender<u64>,
    /// How often the coordinator has answered since it knows that we leave.
    pub(super) farewells: watch::Sender<u64>,
}

impl Services {
    /// Returns none, yet. Their files will be in `home`.
    pub(in crate::host) fn new(
        settings: &ServiceSettings,
        home: PathBuf,
        keep_failed: bool,
        shared: Shared,
    ) -> Self {
        let base = settings.public_url.as_deref();
        Self::with(
            home,
            base.map(|base| base.trim_end_matches('/').to_owned()),
            Means {
                kinds: shared.kinds,
                watch: shared.watch,
                ports: Arc::new(Ports::new(settings.base_port)),
                news: News::new(),
                times: Times::USUAL,
                keep_failed,
                tell: shared.tell,
            },
        )
    }

    pub(super) fn with(home: PathBuf, base: Option<String>, means: Means) -> Self {
        Self {
            home,
            base,
            means: Arc::new(means),
            table: Mutex::default(),
            failed: Mutex::default(),
            read: Mutex::default(),
            wants: watch::Sender::default(),
            told: watch::Sender::default(),
            farewells: watch::Sender::default(),
        }
    }

    /// Returns how many things the coordinator has to hear of, and how to wait for more.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.means.news.subscribe()
    }

    /// Returns what the coordinator is told.
    pub(super) fn request(&self, seen: Option<u64>, wait: Duration, leaving: bool) -> SyncServices {
        let base = self.base.as_deref();
        SyncServices {
            assignments: self
                .table()
                .values()
                .map(|instance| instance.report(base))
                .collect(),
            seen,
            wait_ms: Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            leaving,
        }
    }

    /// Does what the coordinator wants; who leaves begins nothing new. Returns directories that are of no more use.
    pub(super) fn apply(&self, answer: SyncedServices, leaving: bool) -> Vec<PathBuf> {
        let mut table = self.table();
        let mut named = BTreeSet::new();
        let mut wants = Wants::new();
        for wanted in answer.assignments {
            let id = wanted.assignment_id.clone();
            named.insert(id.clone());
            if let Some(logs) = wanted.logs {
                wants.insert(id.clone(), logs);
            }
            match (table.get(&id), wanted.want) {
                (Some(_), Want::Run) => {}
                (Some(instance), Want::Drain) => instance.drain(Duration::MAX),
                (None, Want::Run) if leaving => {}
                (None, Want::Run) => {
                    table.insert(id, Instance::start(wanted, &self.home, &self.means));
                }
                (None, Want::Drain) => {
                    // Of a former life, so it runs no more. The coordinator waits to hear that.
                    table.insert(id, Instance::ended(&wanted, &self.home, &self.means));
                }
            }
        }
        let mut useless = Vec::new();
        table.retain(|id, instance| {
            if named.contains(id) {
                return true;
            }
            instance.drain(Duration::MAX);
            let keep = !instance.is_over();
            if !keep {
                useless.extend(self.useless(instance));
            }
            keep
        });
        drop(table);
        let read = answer.kept_logs.iter().map(|kept| {
            let id = &kept.assignment_id;
            wants.insert(id.clone(), kept.logs);
            let instance = Instance::forgotten(id, &kept.name, &self.home);
            (id.clone(), instance)
        });
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = read.collect();
        self.wants.send_if_modified(|known| {
            let changed = *known != wants;
            *known = wants;
            changed
        });
        useless
    }

    /// Returns which directories nobody needs any more once this one is forgotten: that of one that failed before it, if
    /// it has failed.
    fn useless(&self, instance: &Instance) -> Vec<PathBuf> {
        let dir = instance.dir.clone();
        if instance.status().phase != Phase::Failed {
            return vec![dir];
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut useless: Vec<PathBuf> = failed
            .extract_if(.., |(name, _)| *name == instance.name)
            .map(|(_, dir)| dir)
            .collect();
        failed.push((instance.name.clone(), dir));
        let surplus = failed.len().saturating_sub(MOST_FAILED);
        useless.extend(failed.drain(..surplus).map(|(_, dir)| dir));
        useless
    }

    /// Returns the directories of a former life that nobody speaks of any more.
    pub(super) fn strangers(&self) -> Vec<PathBuf> {
        let table = self.table();
        let ours = |dir: &Path| table.values().any(|instance| instance.dir == dir);
        let entries = std::fs::read_dir(&self.home)
            .into_iter()
            .flatten()
            .flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| !ours(path))
            .collect()
    }

    /// Returns one of them.
    pub(super) fn instance(&self, id: &str) -> Option<Arc<Instance>> {
        self.table().get(id).cloned()
    }

    /// Returns one of them for a reader of its output; also one that is over, if there is such a reader.
    pub(super) fn readable(&self, id: &str) -> Option<Arc<Instance>> {
        let forgotten = || {
            let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.get(id).cloned()
        };
        self.instance(id).or_else(forgotten)
    }

    /// Returns what the coordinator is told of one of them.
    pub(super) fn report(&self, id: &str) -> Option<AssignmentReport> {
        Some(self.instance(id)?.report(self.base.as_deref()))
    }

    /// Returns how they stand, for the machine's owner.
    pub(in crate::host) fn local(&self) -> Vec<LocalService> {
        let local = |instance: &Arc<Instance>| {
            let status = instance.status();
            LocalService {
                name: instance.name.clone(),
                assignment_id: instance.id.clone(),
                phase: status.phase,
                port: status.port,
                restarts: status.restarts,
                error: status.error,
            }
        };
        self.table().values().map(local).collect()
    }

    /// Waits until the coordinator has told all of them to end: what it keeps here yet is on its way to other hosts.
    /// It is given `heard` to answer at all, and `most` for the rest.
    pub(super) async fn handed_over(&self, heard: Duration, most: Duration) {
        let mut answers = self.farewells.subscribe();
        let mut news = self.news();
        let runs = |one: &Arc<Instance>| !one.is_over() && one.orders().look() == Order::Run;
        let waiting = async {
            let mut patience = heard;
            while self.table().values().any(runs) {
                let changed = async {
                    tokio::select! {
                        _ = answers.changed() => true,
                        _ = news.changed() => false,
                    }
                };
                match timeout(patience, changed).await {
                    Ok(true) => patience = most,
                    Ok(false) => {}
                    Err(_) => return,
                }
            }
        };
        let _ = timeout(most, waiting).await;
    }

    /// Lets all of them end once their clients have left them, but no later than `most` from now.
    pub(super) fn drain_all(&self, most: Duration) {
        for instance in self.table().values() {
            instance.drain(most);
        }
    }

    /// Ends all of them at once.
    pub(super) fn end_all(&self) {
        for instance in self.table().values() {
            instance.end();
        }
    }

    /// Waits until nothing of them runs.
    pub(super) async fn all_over(&self) {
        let mut news = self.news();
        while !self.table().values().all(|instance| instance.is_over()) {
            // It ends with the table only.
            let _ = news.changed().await;
        }
    }

    /// Waits until the coordinator has heard everything.
    pub(super) async fn all_told(&self) {
        let mut told = self.told.subscribe();
        if self.table().is_empty() {
            return;
        }
        let news = self.news();
        let _ = told.wait_for(|told| *told >= *news.borrow()).await;
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Instance>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
