//! Several coordinators as one queue: a log with consensus in front of the writer.
//!
//! What the members agree on is a log of commands; each applies it with the same writer to a file
//! of its own. Who decides what comes next is the leader. The consensus is openraft's, and its
//! types do not leave this directory. How messages travel is somebody else's: see [`Carrier`].

mod carry;
mod member;
mod status;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

pub use carry::{Carrier, CarryError, Kind};
pub use member::{ClusterId, Member, MemberId, PROTOCOL};
pub use status::{Role, Status};

use super::local::Local;
use super::{Options, Queue};
use crate::queue::error::Error;

/// A handle on this member's part in a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    core: Arc<Core>,
}

struct Core {
    local: Arc<Local>,
    status: watch::Sender<Status>,
    _carrier: Arc<dyn Carrier>,
}

/// What [`force_new_cluster`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forced {
    /// The only member of the new cluster.
    pub id: MemberId,
    /// The new cluster.
    pub cluster: ClusterId,
    /// The members that are no longer any.
    pub dropped: Vec<(MemberId, Member)>,
    /// How many entries of the log were applied that this member did not know to be agreed on.
    pub adopted: u64,
    /// The last entry that is part of its state.
    pub applied: u64,
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
        let queue = Self::open_any(options)?;
        let (status, _) = watch::channel(Status::lone(MemberId::random()));
        let core = Core {
            local: Arc::clone(&queue.local),
            status,
            _carrier: carrier,
        };
        let core = Arc::new(core);
        Ok((queue, Cluster { core }))
    }
}

impl Cluster {
    /// Returns where this member stands.
    pub fn status(&self) -> Status {
        self.core.status.borrow().clone()
    }

    /// Returns a look at where this member stands that tells when it changes.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.core.status.subscribe()
    }

    /// Makes the lone queue a cluster of one. It goes on meanwhile: commands wait a moment.
    ///
    /// # Errors
    /// When it is in a cluster already, or a file fails; the queue is lone then as before.
    pub async fn found(&self, me: Member) -> Result<(), Error> {
        let _ = me;
        Err(Error::Died("clusters are not there yet".to_owned()))
    }

    /// Makes the lone, empty queue wait until a cluster takes it in.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], or when a file fails.
    pub async fn wait_for_adoption(&self) -> Result<(), Error> {
        Err(Error::Died("clusters are not there yet".to_owned()))
    }

    /// Takes a message that another member's [`Carrier`] brought, and returns the answer to it.
    ///
    /// # Errors
    /// [`Error::NotAMember`] when this is in no cluster or another one; others when it cannot be read or
    /// the engine has died.
    pub async fn receive(&self, kind: Kind, body: Vec<u8>) -> Result<Vec<u8>, Error> {
        let _ = (kind, body);
        Err(Error::NotAMember(
            "this coordinator is in no cluster".to_owned(),
        ))
    }

    /// Takes a member in, as a learner. Returns when that is agreed on. Asked of the leader only.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::NoQuorum`] or [`Error::Changing`].
    pub async fn add(&self, id: MemberId, member: Member) -> Result<(), Error> {
        let _ = (id, member);
        Err(Error::NotAMember(
            "this coordinator is in no cluster".to_owned(),
        ))
    }

    /// Gives a learner a vote. Asked of the leader only.
    ///
    /// # Errors
    /// [`Error::Behind`] while it has not caught up, [`Error::NotLeader`], [`Error::NoQuorum`] or
    /// [`Error::Changing`].
    pub async fn promote(&self, id: MemberId) -> Result<(), Error> {
        let _ = id;
        Err(Error::NotAMember(
            "this coordinator is in no cluster".to_owned(),
        ))
    }

    /// Lets members go. Asked of the leader only, which may be one of them: it steps down then.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::NoQuorum`] or [`Error::Changing`].
    pub async fn remove(&self, ids: &[MemberId]) -> Result<(), Error> {
        let _ = ids;
        Err(Error::NotAMember(
            "this coordinator is in no cluster".to_owned(),
        ))
    }

    /// Makes sure that this is still the leader and has applied everything that was agreed on when
    /// this was called: what is read after it is not old. Callers that come together share one round.
    ///
    /// # Errors
    /// [`Error::NotLeader`] or [`Error::NoQuorum`].
    pub async fn confirm(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Waits until the engine or its storage has died, and says why. The process must end then: what
    /// it would answer from now on would be old, and writes would wait for nothing.
    pub async fn failed(&self) -> String {
        let mut died = self.core.local.died();
        let why = died.wait_for(Option::is_some).await;
        match why.ok().and_then(|why| why.clone()) {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }

    /// Returns a hash over everything in the queue, in the order of its keys: equal on members that
    /// have applied the same log.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn state_hash(&self) -> Result<[u8; 32], Error> {
        self.core.local.with(|store| store.hash()).await
    }
}

/// Makes the queue at `path`, which nobody may have open, the only member of a new cluster, with
/// everything that it has. For the last survivor of a cluster that lost its majority for good.
///
/// # Errors
/// When it is in no cluster, is open, or its files fail.
pub fn force_new_cluster(path: &Path) -> Result<Forced, Error> {
    let _ = path;
    Err(Error::NotAMember("this queue is in no cluster".to_owned()))
}

/// Refuses a queue that is a member of a cluster: who writes it alone would part from the others.
pub(super) fn refuse_members(path: &Path) -> Result<(), Error> {
    let _ = path;
    Ok(())
}
