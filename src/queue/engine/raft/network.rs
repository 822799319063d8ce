//! The other members as openraft sees them: what it says to one becomes messages for the carrier.
//!
//! openraft gives up on more of the log after a heartbeat's time, however long the entries are, and then sends
//! them again. On a slow way that would never end. So a message with entries goes on after openraft
//! gave up on it; the next attempt joins it, and a mere sign of life is sent meanwhile.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::error::{
    Fatal, NetworkError, PayloadTooLarge, RPCError, RaftError, RemoteError, ReplicationClosed,
    StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;
use openraft::{AnyError, OptionalSend, RaftNetwork, RaftNetworkFactory, StorageIOError};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::send::Sending;
use super::state::OwnCluster;
use super::types::{LogId, StorageError, Types, Vote};
use super::wire::{self, Append, Head};
use super::{Carrier, CarryError, Kind, Member, MemberId};
use crate::queue::engine::local::Local;
use crate::queue::error::Error;
use crate::support::chain::chain;

/// How long a message with entries may be on its way.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a member may take to say that it is there.
const GREETING: Duration = Duration::from_secs(2);

/// How often a member that is sent a copy of the queue hears that its leader is there. openraft says nothing meanwhile.
const SIGN_EACH: Duration = Duration::from_millis(500);

/// How long nothing is sent to a member that could not be reached.
const PAUSE: Duration = Duration::from_millis(200);

/// How long to wait before another copy is made for a member that did not take one; longer each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

type Failed<E = RaftError<MemberId>> = RPCError<MemberId, Member, E>;
type Answered = Result<AppendEntriesResponse<MemberId>, CarryError>;

/// The way to all other members.
#[derive(Clone)]
pub struct Network {
    /// Who brings messages.
    pub carrier: Arc<dyn Carrier>,
    /// The cluster that they are of.
    pub cluster: OwnCluster,
    /// The queue that copies are made of.
    pub local: Arc<Local>,
    /// Who could not be reached last time, so that it is said once.
    pub away: Arc<Mutex<BTreeSet<MemberId>>>,
}

impl Network {
    /// Takes note of whether a member answered.
    fn heard(&self, who: (MemberId, &Member), failure: Option<&CarryError>) {
        let (id, member) = who;
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            None if away.remove(&id) => {
                tracing::info!(member = %id, name = member.name, "a member of the cluster answers again");
            }
            Some(why) if away.insert(id) => {
                tracing::warn!(member = %id, name = member.name, url = member.url, %why,
                    "a member of the cluster does not answer");
            }
            None | Some(_) => {}
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, to: MemberId, at: &Member) -> Peer {
        Peer {
            network: self.clone(),
            to,
            at: at.clone(),
            pending: None,
            failed_copies: 0,
        }
    }
}

/// The way to one other member.
pub struct Peer {
    network: Network,
    to: MemberId,
    at: Member,
    pending: Option<Pending>,
    /// How many copies of the queue it did not take, one after the other.
    failed_copies: u32,
}

/// Entries on their way.
struct Pending {
    vote: Vote,
    prev: Option<LogId>,
    last: LogId,
    answer: JoinHandle<Answered>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

impl Peer {
    /// Sends a message and returns its answer.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        kind: Kind,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<T, CarryError> {
        let carrier = &self.network.carrier;
        let answer = carrier.carry(self.to, &self.at, kind, body, within).await;
        self.network
            .heard((self.to, &self.at), answer.as_ref().err());
        read(&answer?)
    }

    /// Returns the head of a message to this member.
    pub(super) fn head<T>(&self, says: T) -> Head<T> {
        Head {
            cluster: self.network.cluster.get(),
            to: self.to,
            says,
        }
    }

    /// Returns where the queue is.
    pub(super) fn local(&self) -> &Arc<Local> {
        &self.network.local
    }

    fn append(&self, rpc: &AppendEntriesRequest<Types>) -> Vec<u8> {
        let says = Append {
            vote: rpc.vote,
            prev: rpc.prev_log_id,
            commit: rpc.leader_commit,
            entries: Vec::new(),
        };
        wire::append(self.network.cluster.get(), self.to, says, &rpc.entries)
    }

    fn start(&self, rpc: &AppendEntriesRequest<Types>, last: LogId) -> Pending {
        let body = self.append(rpc);
        let carrier = &self.network.carrier;
        let carried = carrier.carry(self.to, &self.at, Kind::Append, body, PATIENCE);
        Pending {
            vote: rpc.vote,
            prev: rpc.prev_log_id,
            last,
            answer: tokio::spawn(async move { read(&carried.await?) }),
        }
    }

    async fn with_entries(
        &mut self,
        rpc: &AppendEntriesRequest<Types>,
        last: LogId,
        within: Duration,
    ) -> Result<AppendEntriesResponse<MemberId>, Failed> {
        let joins = |pending: &Pending| {
            pending.vote == rpc.vote && pending.prev == rpc.prev_log_id && pending.last <= last
        };
        match &self.pending {
            Some(pending) if joins(pending) => {
                if !pending.answer.is_finished() {
                    self.sign_of_life(rpc, within);
                }
            }
            Some(_) | None => self.pending = Some(self.start(rpc, last)),
        }
        let Some(pending) = self.pending.as_mut() else {
            return Err(unreachable("nothing was sent".to_owned()));
        };
        let answered = (&mut pending.answer).await;
        let sent = pending.last;
        self.pending = None;
        let answered =
            answered.unwrap_or_else(|ended| Err(CarryError::Unreachable(ended.to_string())));
        self.network
            .heard((self.to, &self.at), answered.as_ref().err());
        match answered {
            Ok(AppendEntriesResponse::Success) if sent < last => {
                Ok(AppendEntriesResponse::PartialSuccess(Some(sent)))
            }
            Ok(answer) => Ok(answer),
            Err(CarryError::TooLarge) if rpc.entries.len() > 1 => {
                let half = rpc.entries.len() as u64 / 2;
                Err(PayloadTooLarge::new_entries_hint(half).into())
            }
            Err(error) => Err(unreachable(error.to_string())),
        }
    }

    /// Tells the other side whom it should stand by, and whether it is there and does.
    async fn greet(&self, vote: Vote) -> Answered {
        let says = Append {
            vote,
            prev: None,
            commit: None,
            entries: Vec::new(),
        };
        let body = wire::append(self.network.cluster.get(), self.to, says, &[]);
        self.ask(Kind::Append, body, GREETING).await
    }

    /// Greets for as long as the other side stands by this leader; returns whom it stands by then.
    async fn stays(&self, vote: Vote) -> Vote {
        loop {
            tokio::time::sleep(SIGN_EACH).await;
            if let Ok(AppendEntriesResponse::HigherVote(higher)) = self.greet(vote).await {
                return higher;
            }
        }
    }

    /// Lets the other side know that its leader is there while a long message is on its way.
    fn sign_of_life(&self, rpc: &AppendEntriesRequest<Types>, within: Duration) {
        let says = Append {
            vote: rpc.vote,
            prev: rpc.prev_log_id,
            commit: None,
            entries: Vec::new(),
        };
        let body = wire::append(self.network.cluster.get(), self.to, says, &[]);
        let carrier = &self.network.carrier;
        let carried = carrier.carry(self.to, &self.at, Kind::Append, body, within);
        tokio::spawn(carried);
    }
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, CarryError> {
    serde_json::from_slice(answer)
        .map_err(|error| CarryError::Refused(format!("the answer cannot be read: {error}")))
}

fn unreachable<E: std::error::Error>(why: String) -> Failed<E> {
    Unreachable::new(&AnyError::error(why)).into()
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<MemberId>, Failed> {
        let within = option.hard_ttl();
        match rpc.entries.last().map(|entry| entry.log_id) {
            Some(last) => self.with_entries(&rpc, last, within).await,
            None => {
                let answer = self.ask(Kind::Append, self.append(&rpc), within).await;
                answer.map_err(|error| unreachable(error.to_string()))
            }
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<MemberId>,
        option: RPCOption,
    ) -> Result<VoteResponse<MemberId>, Failed> {
        let body = wire::message(&self.head(rpc), &[]);
        let answer = self.ask(Kind::Vote, body, option.hard_ttl()).await;
        answer.map_err(|error| unreachable(error.to_string()))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<MemberId>, StreamingError<Types, Fatal<MemberId>>> {
        // A copy costs a whole reading of the queue: none is made for a member that is not there.
        match self.greet(vote).await {
            Ok(AppendEntriesResponse::HigherVote(higher)) => {
                return Ok(SnapshotResponse::new(higher));
            }
            Ok(_) => {}
            Err(error) => return Err(Unreachable::new(&error).into()),
        }
        let sending = match Sending::prepare(self, vote, snapshot).await {
            Ok(sending) => sending,
            Err(error @ Error::Damaged { .. }) => {
                let error = AnyError::error(chain(&error));
                let error: StorageError = StorageIOError::read_snapshot(None, error).into();
                return Err(error.into());
            }
            // That there is no room for it, say, must not end the member that has everything.
            Err(error) => {
                let why = chain(&error);
                tracing::warn!(member = %self.to, why, "no copy of the queue can be made for a member that is behind");
                return Err(Unreachable::new(&AnyError::error(why)).into());
            }
        };
        let mut cancel = std::pin::pin!(cancel);
        let sent = tokio::select! {
            closed = &mut cancel => return Err(closed.into()),
            sent = sending.run() => sent,
            higher = self.stays(vote) => Ok(higher),
        };
        let error = match sent {
            Ok(vote) => {
                self.failed_copies = 0;
                return Ok(SnapshotResponse::new(vote));
            }
            Err(CarryError::Refused(why)) => {
                tracing::warn!(member = %self.to, why, "a member refused a copy of the queue");
                RemoteError::new(self.to, Fatal::Stopped).into()
            }
            Err(error) => NetworkError::new(&error).into(),
        };
        // The next one costs as much as this one did: whoever has no room for it, say, is asked less and less often.
        let pause = FIRST_PAUSE * 2_u32.pow(self.failed_copies.min(5));
        self.failed_copies += 1;
        tokio::select! {
            closed = &mut cancel => Err(closed.into()),
            () = tokio::time::sleep(pause) => Err(error),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(PAUSE))
    }
}
