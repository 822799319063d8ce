//! How a member's part in a cluster begins and ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::{Config, SnapshotPolicy};
use tokio::sync::{Mutex, RwLock, mpsc, watch};

use super::begin::Begin;
use super::confirm::{self, Asking};
use super::fault::Fault;
use super::log::{Log, Notes, note, to_note};
use super::network::Network;
use super::propose::Proposer;
use super::receive::{Inbox, died};
use super::state::{OwnCluster, State};
use super::types::Raft;
use super::{Carrier, ClusterId, Member, MemberId, Role, Status, compact, send, watch as watching};
use crate::queue::engine::Timing;
use crate::queue::engine::local::{Local, Posted};
use crate::queue::engine::now::Now;
use crate::queue::engine::way::Way;
use crate::queue::error::Error;
use crate::queue::store::Journal;
use crate::support::chain::chain;

/// How long a founder may take to become the leader of itself.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Everything about this member that outlives one run of the engine.
pub struct Core {
    /// Its number.
    pub id: MemberId,
    /// The queue's writer.
    pub local: Arc<Local>,
    /// Where the queue's commands go.
    pub way: Arc<Way>,
    /// The time that goes into commands.
    pub now: Arc<Now>,
    /// Who brings messages to others.
    pub carrier: Arc<dyn Carrier>,
    /// How soon a leader is missed.
    pub timing: Timing,
    /// How many entries the log keeps.
    pub log_entries: u64,
    /// Where it stands.
    pub status: watch::Sender<Status>,
    /// What ended it.
    pub fault: Fault,
    /// Its cluster.
    pub cluster: OwnCluster,
    /// Whether this member's part is over for this process.
    pub ended: watch::Sender<bool>,
    /// Whether it makes way for another leader.
    pub stepping_back: watch::Sender<bool>,
    /// The engine, while it runs.
    pub running: RwLock<Option<Running>>,
    /// Held while the engine is started or stopped.
    pub turning: Mutex<()>,
    /// Held while the members change: one change at a time.
    pub changing: Mutex<()>,
}

/// A running engine.
pub struct Running {
    /// openraft.
    pub raft: Raft,
    /// Its log.
    pub log: Log,
    /// Where messages go.
    pub inbox: Arc<Inbox>,
    /// Where to ask whether this is still the leader.
    pub confirm: mpsc::UnboundedSender<Asking>,
    /// Whether it is being stopped, so that its end is no fault.
    stopping: watch::Sender<bool>,
}

impl Core {
    /// Returns the queue's file.
    pub fn path(&self) -> &Path {
        self.local.path()
    }

    fn config(&self) -> Result<Arc<Config>, Error> {
        let millis =
            |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: "skyclaw".to_owned(),
            heartbeat_interval: millis(self.timing.heartbeat),
            election_timeout_min: millis(self.timing.election_min),
            election_timeout_max: millis(self.timing.election_max),
            // See `compact`: by bytes too, and not in the middle of a write. openraft itself lets nothing go: what
            // it would let go may be less than what it was told to and has put off, and that it takes for a fault.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            max_payload_entries: 1024,
            ..Config::default()
        };
        let config = config.validate().map_err(|error| died(&error))?;
        Ok(Arc::new(config))
    }

    /// Starts the engine on an open log.
    ///
    /// # Errors
    /// When the log or the queue cannot be read.
    pub async fn start(&self, journal: Journal) -> Result<Raft, Error> {
        if *self.ended.borrow() {
            return Err(Error::Closed);
        }
        let inline = self.local.is_inline();
        self.local.with(|store| store.relax()).await?;
        let log = Log::start(journal, self.path(), inline, self.fault.clone())?;
        let state = State {
            local: Arc::clone(&self.local),
            now: Arc::clone(&self.now),
            cluster: self.cluster.clone(),
            fault: self.fault.clone(),
        };
        let network = Network {
            carrier: Arc::clone(&self.carrier),
            cluster: self.cluster.clone(),
            local: Arc::clone(&self.local),
            away: Arc::default(),
        };
        let config = self.config()?;
        let raft = Raft::new(self.id, config, network, log.clone(), state.clone()).await;
        let raft = raft.map_err(|error| died(&error))?;
        let (confirm, asking) = mpsc::unbounded_channel();
        let (stopping, stops) = watch::channel(false);
        tokio::spawn(confirm::run(raft.clone(), asking));
        tokio::spawn(compact::run(raft.clone(), log.clone(), self.log_entries));
        tokio::spawn(watching::run(
            raft.clone(),
            (self.cluster.clone(), 2 * self.timing.election_max),
            self.status.clone(),
            self.fault.clone(),
            (stops, self.stepping_back.subscribe()),
        ));
        let inbox = Inbox {
            id: self.id,
            raft: raft.clone(),
            state,
            copies: Arc::default(),
        };
        *self.running.write().await = Some(Running {
            raft: raft.clone(),
            log,
            inbox: Arc::new(inbox),
            confirm,
            stopping,
        });
        Ok(raft)
    }

    /// Puts the commands that come from `posted` into the log.
    pub fn propose(&self, raft: Raft, posted: mpsc::UnboundedReceiver<Posted>) {
        let proposer = Proposer {
            raft,
            now: Arc::clone(&self.now),
            status: self.status.subscribe(),
            held: None,
        };
        tokio::spawn(proposer.run(posted));
    }

    /// Ends the engine and lets go of its files. Commands fail from then on.
    pub async fn end(&self) {
        let _turning = self.turning.lock().await;
        self.halt().await;
        self.ended.send_replace(true);
    }

    async fn halt(&self) {
        let running = self.running.write().await.take();
        if let Some(running) = running {
            running.stopping.send_replace(true);
            let _ = running.raft.shutdown().await;
            running.log.close();
        }
    }

    /// Makes the lone queue, or one that waits, a cluster of one.
    ///
    /// # Errors
    /// When it is in a cluster, or a file fails: the queue is then as before.
    pub async fn found(&self, me: Member) -> Result<(), Error> {
        let _turning = self.turning.lock().await;
        let role = self.status.borrow().role;
        if !matches!(role, Role::Lone | Role::Waiting) {
            return Err(in_one());
        }
        // Whatever is said of one whose engine runs, it must not forget what it agreed on with others. Without
        // a log, what the queue says of a cluster is a founding that was cut short, or came with a backup.
        let past = self.local.with(|store| store.replica()).await?;
        let is_running = self.running.read().await.is_some();
        if is_running && past.is_some_and(|past| past.applied.is_some()) {
            return Err(in_one());
        }
        // One that waits runs an engine, which knows of nothing yet.
        self.halt().await;
        let (proposals, mut posted) = mpsc::unbounded_channel();
        // What comes from here on waits; what came before is done before what `prepare` does.
        self.way.lead(Some(proposals));
        match self.prepare(me).await {
            Ok(journal) => {
                let started = self.start(journal).await;
                let raft = started.inspect_err(|error| self.fault.report(chain(error)))?;
                // Commands that wait are for the leader.
                let leads = self.lead().await;
                self.propose(raft, posted);
                leads
            }
            Err(error) => {
                self.way.lead(None);
                while let Ok(waiting) = posted.try_recv() {
                    let _ = self.local.post(waiting);
                }
                Err(error)
            }
        }
    }

    /// Writes down that this is a cluster of one whose log is gone up to where the queue stands: whoever
    /// joins must then begin with a copy of the queue, because what is in it was never in the log.
    async fn prepare(&self, me: Member) -> Result<Journal, Error> {
        let begin = Begin::first(self.id, me, ClusterId::random());
        let replica = begin.replica(self.now.get());
        let queue = self.path().to_owned();
        // The queue first: without the log's word it means nothing.
        let journal = self.local.with(move |store| {
            store.set_replica(&replica)?;
            Journal::open(&queue)
        });
        let mut journal = journal.await?;
        let edits = begin.edits();
        journal.edit(&edits)?;
        self.cluster.set(Some(begin.cluster));
        Ok(journal)
    }

    async fn lead(&self) -> Result<(), Error> {
        let mut status = self.status.subscribe();
        let leading = status.wait_for(|status| status.role == Role::Leader && status.applied > 1);
        let is_leading = match tokio::time::timeout(PATIENCE, leading).await {
            Ok(found) => found.is_ok(),
            Err(_) => false,
        };
        match (is_leading, self.fault.get()) {
            (true, _) => Ok(()),
            (false, Some(why)) => Err(Error::Died(why)),
            (false, None) => Err(Error::NoQuorum(
                "the new cluster of one has no leader yet".to_owned(),
            )),
        }
    }

    /// Makes the lone, empty queue wait until a cluster takes it in.
    ///
    /// # Errors
    /// When something is in it, it is in a cluster, or a file fails.
    pub async fn wait_for_adoption(&self) -> Result<(), Error> {
        let _turning = self.turning.lock().await;
        let role = self.status.borrow().role;
        match role {
            Role::Waiting => return Ok(()),
            Role::Lone => {}
            Role::Learner | Role::Follower | Role::Candidate | Role::Leader => {
                return Err(Error::NotAMember("it is in a cluster already".to_owned()));
            }
        }
        let (proposals, posted) = mpsc::unbounded_channel();
        self.way.lead(Some(proposals));
        match self.open_empty().await {
            Ok(journal) => {
                let started = self.start(journal).await;
                let raft = started.inspect_err(|error| self.fault.report(chain(error)))?;
                self.propose(raft, posted);
                let mut status = self.status.subscribe();
                let waiting = status.wait_for(|status| status.role != Role::Lone);
                let _ = waiting.await;
                Ok(())
            }
            Err(error) => {
                self.way.lead(None);
                let mut posted = posted;
                while let Ok(waiting) = posted.try_recv() {
                    let _ = self.local.post(waiting);
                }
                Err(error)
            }
        }
    }

    async fn open_empty(&self) -> Result<Journal, Error> {
        let queue = self.path().to_owned();
        let id = self.id;
        let opened = self.local.with(move |store| {
            if !store.is_empty()? {
                return Err(Error::NotEmpty { path: queue });
            }
            // A row of an earlier cluster would be taken for what this one has.
            store.forget_replica()?;
            let mut journal = Journal::open(&queue)?;
            journal.edit(&[to_note(note::MEMBER, &id)])?;
            Ok(journal)
        });
        opened.await
    }
}

fn in_one() -> Error {
    Error::NotAMember("it is in a cluster already and cannot found another one".to_owned())
}

/// Returns the log of the queue at `queue` and what it notes, if it has one.
///
/// # Errors
/// When it is open elsewhere or cannot be read.
pub fn open_log(queue: &Path) -> Result<Option<(Journal, Notes)>, Error> {
    let path: PathBuf = crate::queue::store::journal_of(queue);
    if !path.exists() {
        return Ok(None);
    }
    let journal = Journal::open(queue)?;
    let notes = Notes::read(&journal)?;
    Ok(Some((journal, notes)))
}

/// Removes what sending and receiving copies left when the process ended.
pub fn tidy(queue: &Path) {
    send::clean(queue);
}
