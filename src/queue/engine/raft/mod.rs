//! Several coordinators as one queue: a log with consensus in front of the writer.
//!
//! What the members agree on is a log of commands; each applies it with the same writer to a file
//! of its own. Who decides what comes next is the leader. The consensus is openraft's, and its
//! types do not leave this directory. How messages travel is somebody else's: see [`Carrier`].

mod begin;
mod carry;
mod compact;
mod confirm;
mod disk;
mod fault;
mod force;
mod format;
mod handover;
mod life;
mod log;
mod member;
mod members;
mod network;
mod propose;
mod receive;
mod runtime;
mod send;
mod state;
mod status;
mod types;
mod watch;
mod wire;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Mutex, RwLock, mpsc, oneshot};

pub use carry::{Carrier, CarryError, Kind};
pub use compact::KEPT_ENTRIES;
pub use force::{Forced, force_new_cluster};
pub use member::{ClusterId, Member, MemberId, PROTOCOL};
pub use status::{FIRST_TERM, Role, Status};

use self::fault::Fault;
use self::life::Core;
use self::log::{note, to_note};
use self::state::OwnCluster;
use super::{Options, Queue};
use crate::queue::error::Error;
use crate::queue::store::Pinned;

/// A handle on this member's part in a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    held: Arc<Held>,
}

/// Keeps the member's part going; the last one to be dropped ends it.
pub struct Held {
    core: Arc<Core>,
    /// Closes with this.
    _gone: oneshot::Sender<()>,
}

impl Queue {
    /// Opens the queue with a handle on its cluster. It is lone unless it became a member earlier;
    /// then it takes part again by itself. Needs a running tokio.
    ///
    /// # Errors
    /// As [`Queue::open`], or when the cluster's log cannot be opened or does not fit the queue.
    pub fn open_member(
        options: Options,
        carrier: Arc<dyn Carrier>,
    ) -> Result<(Self, Cluster), Error> {
        let path = options.path.clone();
        let timing = options.timing;
        let log_entries = options.log_entries;
        // The log first: only one process has it, and what copies there are is that one's business.
        let mut opened = life::open_log(&path)?;
        if let Some((journal, notes)) = opened.as_mut().filter(|(_, notes)| notes.is_member()) {
            force::finish(&path, journal, notes)?;
            send::finish(&path, journal, notes)?;
        }
        let mut queue = Self::open_any(options)?;
        life::tidy(&path);
        let notes = opened.as_ref().map(|(_, notes)| notes.clone());
        let notes = notes.unwrap_or_default();
        let id = notes.member.unwrap_or_else(MemberId::random);
        let member = opened.filter(|(_, notes)| notes.is_member());
        let (gone, going) = oneshot::channel();
        let core = Arc::new(Core {
            id,
            local: Arc::clone(&queue.local),
            way: Arc::clone(&queue.way),
            now: Arc::clone(&queue.now),
            carrier,
            timing,
            log_entries,
            status: tokio::sync::watch::Sender::new(Status::lone(id)),
            fault: Fault::new(),
            cluster: OwnCluster::default(),
            ended: tokio::sync::watch::Sender::new(false),
            stepping_back: tokio::sync::watch::Sender::new(false),
            running: RwLock::new(None),
            turning: Mutex::new(()),
            changing: Mutex::new(()),
        });
        if let Some((mut journal, notes)) = member {
            let replica = Pinned::take(&path)?.replica().cloned();
            notes.check(&journal, &path, replica.as_ref())?;
            let told = replica
                .as_ref()
                .and_then(|replica| replica.cluster.parse().ok());
            let cluster = notes.cluster.or(told);
            if let (None, Some(told)) = (notes.cluster, told) {
                // It came with a copy of the queue.
                journal.edit(&[to_note(note::CLUSTER, &told)])?;
            }
            core.cluster.set(cluster);
            if let Some(replica) = &replica {
                core.now.not_before(replica.now);
            }
            core.status.send_modify(|status| {
                status.cluster = cluster;
                status.role = match replica.is_some_and(|replica| replica.applied.is_some()) {
                    true => Role::Follower,
                    false => Role::Waiting,
                };
            });
            let (proposals, posted) = mpsc::unbounded_channel();
            queue.way.lead(Some(proposals));
            let core = Arc::clone(&core);
            tokio::spawn(async move {
                let _turning = core.turning.lock().await;
                match core.start(journal).await {
                    Ok(raft) => core.propose(raft, posted),
                    Err(error) => core.fault.report(crate::support::chain::chain(&error)),
                }
            });
        }
        let ending = Arc::clone(&core);
        tokio::spawn(async move {
            let _ = going.await;
            ending.end().await;
        });
        let held = Arc::new(Held { core, _gone: gone });
        queue._member = Some(Arc::clone(&held));
        Ok((queue, Cluster { held }))
    }
}

impl Cluster {
    fn core(&self) -> &Arc<Core> {
        &self.held.core
    }

    /// Returns where this member stands.
    pub fn status(&self) -> Status {
        self.core().status.borrow().clone()
    }

    /// Returns a look at where this member stands that tells when it changes.
    pub fn watch(&self) -> tokio::sync::watch::Receiver<Status> {
        self.core().status.subscribe()
    }

    /// Makes the lone queue a cluster of one. It goes on meanwhile: commands wait a moment.
    ///
    /// # Errors
    /// When it is in a cluster already, or a file fails; the queue is lone then as before.
    pub async fn found(&self, me: Member) -> Result<(), Error> {
        self.core().found(me).await
    }

    /// Makes the lone, empty queue wait until a cluster takes it in.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], or when a file fails.
    pub async fn wait_for_adoption(&self) -> Result<(), Error> {
        self.core().wait_for_adoption().await
    }

    /// Takes a message that another member's [`Carrier`] brought, and returns the answer to it.
    ///
    /// # Errors
    /// [`Error::NotAMember`] when this is in no cluster or another one; others when it cannot be read or
    /// the engine has died.
    pub async fn receive(&self, kind: Kind, body: Vec<u8>) -> Result<Vec<u8>, Error> {
        let inbox = {
            let running = self.core().running.read().await;
            running.as_ref().map(|running| Arc::clone(&running.inbox))
        };
        match inbox {
            Some(inbox) => inbox.receive(kind, &body).await,
            None => Err(in_none()),
        }
    }

    /// Takes a member in, as a learner, or learns what is new of one that is in. Returns when that
    /// is agreed on. Asked of the leader only.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::NoQuorum`] or [`Error::Changing`].
    pub async fn add(&self, id: MemberId, member: Member) -> Result<(), Error> {
        self.core().add(id, member).await
    }

    /// Gives a learner a vote. Asked of the leader only.
    ///
    /// # Errors
    /// [`Error::Behind`] while it has not caught up, [`Error::NotLeader`], [`Error::NoQuorum`] or
    /// [`Error::Changing`].
    pub async fn promote(&self, id: MemberId) -> Result<(), Error> {
        self.core().promote(id).await
    }

    /// Lets members go. Asked of the leader only, which may be one of them: it steps down then.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::NoQuorum`] or [`Error::Changing`].
    pub async fn remove(&self, ids: &[MemberId]) -> Result<(), Error> {
        self.core().remove(ids).await
    }

    /// Makes sure that this is still the leader and has applied everything that was agreed on when
    /// this was called: what is read after it is not old. Callers that come together share one round.
    ///
    /// # Errors
    /// [`Error::NotLeader`] or [`Error::NoQuorum`].
    pub async fn confirm(&self) -> Result<(), Error> {
        if self.core().status.borrow().role == Role::Lone {
            return Ok(());
        }
        let (asking, answer) = oneshot::channel();
        {
            let running = self.core().running.read().await;
            let sent = running.as_ref().map(|running| running.confirm.send(asking));
            if !matches!(sent, Some(Ok(()))) {
                return Err(Error::NotLeader { leader: None });
            }
        }
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Waits until the engine or its storage has died, and says why. The process must end then: what
    /// it would answer from now on would be old, and writes would wait for nothing.
    pub async fn failed(&self) -> String {
        let core = self.core();
        let mut died = core.local.died();
        tokio::select! {
            why = core.fault.happened() => why,
            why = async {
                let why = died.wait_for(Option::is_some).await;
                match why.ok().and_then(|why| why.clone()) {
                    Some(why) => why,
                    None => std::future::pending().await,
                }
            } => why,
        }
    }

    /// Ends this member's part in its cluster for this process, and returns when the log is let go of. Commands
    /// fail from then on.
    pub async fn close(&self) {
        self.core().end().await;
    }

    /// Returns a hash over everything in the queue, in the order of its keys: equal on members that
    /// have applied the same log.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn state_hash(&self) -> Result<[u8; 32], Error> {
        self.core().local.with(|store| store.hash()).await
    }
}

fn in_none() -> Error {
    Error::NotAMember("this coordinator is in no cluster".to_owned())
}

/// Refuses a queue that is a member of a cluster: who writes it alone would part from the others.
///
/// # Errors
/// When it is one, or that cannot be told.
pub(super) fn refuse_members(path: &Path) -> Result<(), Error> {
    let refused = || Error::IsMember {
        path: path.to_owned(),
    };
    match life::open_log(path) {
        Ok(Some((_, notes))) if notes.is_member() => Err(refused()),
        Ok(_) => Ok(()),
        // Only who is in a cluster, or about to be, keeps it open.
        Err(Error::Busy { .. }) => Err(refused()),
        Err(error) => Err(error),
    }
}

/// Does work that waits for the disk beside the tasks, or at once where there may be no threads.
async fn off_task<T: Send + 'static>(
    inline: bool,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if inline {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(Error::Closed))
}

#[cfg(test)]
mod tests;
