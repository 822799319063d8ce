//! Members that talk through this process, over ways that can be cut.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::protocol::{HostId, JobId, JobResult, Payload};
use crate::queue::cluster::{
    Carrier, CarryError, Cluster, Kind, Member, MemberId, PROTOCOL, Role, Status,
};
use crate::queue::engine::raft::wire::{Append, parts};
use crate::queue::{
    ClaimRequest, Claimant, Claimed, Error, NewJob, Options, Queue, Report, Submit, Verdict,
};
use futures_util::future::BoxFuture;
use tempfile::TempDir;

/// Nothing here takes this long unless it never comes.
pub const SOON: Duration = Duration::from_secs(60);

/// The ways between members.
#[derive(Default)]
pub struct Net {
    there: Mutex<HashMap<MemberId, Cluster>>,
    cut: Mutex<HashSet<(MemberId, MemberId)>>,
    /// How long the longest message of each kind was.
    longest: Mutex<HashMap<Kind, usize>>,
    /// How often a member was asked whether it is there: before each copy, and while one is sent.
    greeted: Mutex<HashMap<MemberId, usize>>,
    /// How many copies or pieces of them were on their way.
    pieces: AtomicUsize,
    /// The answer to the next one is lost, and nobody says so.
    loses_answer: AtomicBool,
}

impl Net {
    /// Lets nothing pass from one to the other any more.
    pub fn cut(&self, from: MemberId, to: MemberId) {
        self.cut.lock().unwrap().insert((from, to));
    }

    /// Parts one from all others, both ways.
    pub fn isolate(&self, one: MemberId) {
        let others: Vec<_> = self.there.lock().unwrap().keys().copied().collect();
        for other in others {
            self.cut(one, other);
            self.cut(other, one);
        }
    }

    /// Returns how long the longest message of a kind was.
    pub fn longest(&self, kind: Kind) -> usize {
        self.longest
            .lock()
            .unwrap()
            .get(&kind)
            .copied()
            .unwrap_or(0)
    }

    /// Returns how often this member was greeted, there or not.
    pub fn greeted(&self, who: MemberId) -> usize {
        let greeted = self.greeted.lock().unwrap();
        greeted.get(&who).copied().unwrap_or(0)
    }

    /// Returns how many pieces of copies were sent.
    pub fn pieces(&self) -> usize {
        self.pieces.load(Ordering::Relaxed)
    }

    /// Loses the answer to the next piece of a copy without a word, as a network does that drops packets.
    pub fn lose_answer(&self) {
        self.loses_answer.store(true, Ordering::Relaxed);
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }
}

struct Wire {
    net: Arc<Net>,
    from: OnceLock<MemberId>,
}

impl Carrier for Wire {
    fn carry(
        &self,
        to: MemberId,
        _at: &Member,
        kind: Kind,
        body: Vec<u8>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, CarryError>> {
        let net = Arc::clone(&self.net);
        let from = *self.from.get().unwrap();
        Box::pin(async move {
            {
                let mut longest = net.longest.lock().unwrap();
                let seen = longest.entry(kind).or_default();
                *seen = (*seen).max(body.len());
            }
            let is_greeting = kind == Kind::Append
                && parts::<Append>(&body).is_ok_and(|(head, _)| head.says.prev.is_none());
            if is_greeting {
                *net.greeted.lock().unwrap().entry(to).or_default() += 1;
            }
            let cut = |from, to| net.cut.lock().unwrap().contains(&(from, to));
            let there = net.there.lock().unwrap().get(&to).cloned();
            let (Some(there), false) = (there, cut(from, to)) else {
                return Err(CarryError::Unreachable("nobody there".to_owned()));
            };
            let begun = tokio::time::Instant::now();
            let answer = tokio::time::timeout(within, there.receive(kind, body)).await;
            if kind == Kind::Snapshot {
                net.pieces.fetch_add(1, Ordering::Relaxed);
                if net.loses_answer.swap(false, Ordering::Relaxed) {
                    tokio::time::sleep_until(begun + within).await;
                    return Err(CarryError::Unreachable("no answer in time".to_owned()));
                }
            }
            // The answer has a way of its own.
            if cut(to, from) {
                return Err(CarryError::Unreachable("no way back".to_owned()));
            }
            match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => Err(CarryError::Refused(error.to_string())),
                Err(_) => Err(CarryError::Unreachable("no answer in time".to_owned())),
            }
        })
    }
}

/// One member, and where its data is.
pub struct Node {
    pub dir: Arc<TempDir>,
    pub queue: Queue,
    pub cluster: Cluster,
    pub id: MemberId,
    net: Arc<Net>,
}

impl Node {
    /// Opens a member on an empty directory.
    pub fn fresh(net: &Arc<Net>) -> Self {
        Self::open(net, Arc::new(tempfile::tempdir().unwrap())).unwrap()
    }

    /// Opens a member on what is there.
    pub fn open(net: &Arc<Net>, dir: Arc<TempDir>) -> Result<Self, Error> {
        Self::open_with(net, dir, |_| ())
    }

    /// Opens a member on what is there, in another way than others.
    pub fn open_with(
        net: &Arc<Net>,
        dir: Arc<TempDir>,
        change: impl FnOnce(&mut Options),
    ) -> Result<Self, Error> {
        let mut options = Options::new(Self::db(&dir));
        change(&mut options);
        let wire = Arc::new(Wire {
            net: Arc::clone(net),
            from: OnceLock::new(),
        });
        let carrier: Arc<dyn Carrier> = wire.clone();
        let (queue, cluster) = Queue::open_member(options, carrier)?;
        let id = cluster.status().id;
        wire.from.set(id).unwrap();
        net.there.lock().unwrap().insert(id, cluster.clone());
        Ok(Self {
            dir,
            queue,
            cluster,
            id,
            net: Arc::clone(net),
        })
    }

    fn db(dir: &Arc<TempDir>) -> std::path::PathBuf {
        dir.path().join("coordinator.db")
    }

    /// Returns the queue's file.
    pub fn path(&self) -> std::path::PathBuf {
        Self::db(&self.dir)
    }

    /// Ends it as a power cut would, as far as others can tell. Returns its data.
    pub async fn kill(self) -> Arc<TempDir> {
        self.net.there.lock().unwrap().remove(&self.id);
        self.cluster.close().await;
        self.dir
    }

    /// Ends it and starts it again on the same data.
    pub async fn restart(self) -> Self {
        let net = Arc::clone(&self.net);
        let dir = self.kill().await;
        Self::open(&net, dir).unwrap()
    }

    pub fn member(&self) -> Member {
        Member {
            url: format!("http://{}", self.id),
            name: self.id.to_string(),
            protocol: PROTOCOL,
            other: Default::default(),
        }
    }

    /// Waits until its status is as wanted.
    pub async fn until(&self, what: &str, wanted: impl FnMut(&Status) -> bool) -> Status {
        let mut watch = self.cluster.watch();
        let found = tokio::time::timeout(SOON, watch.wait_for(wanted)).await;
        match found {
            Ok(status) => status.unwrap().clone(),
            Err(_) => panic!("{what}: {:?}", self.cluster.status()),
        }
    }

    /// Returns up to where its log is gone.
    pub async fn purged(&self) -> u64 {
        let running = self.cluster.core().running.read().await;
        let metrics = running.as_ref().unwrap().raft.metrics();
        let purged = metrics.borrow().purged;
        purged.map_or(0, |at| at.index)
    }

    /// Asks again whenever something happens in the cluster, until the answer is yes.
    pub async fn poll<F: Future<Output = bool>>(&self, what: &str, asked: impl Fn() -> F) {
        let mut metrics = {
            let running = self.cluster.core().running.read().await;
            running.as_ref().unwrap().raft.metrics()
        };
        let found = async {
            while !asked().await {
                metrics.changed().await.unwrap();
            }
        };
        assert!(tokio::time::timeout(SOON, found).await.is_ok(), "{what}");
    }

    /// Puts a job in and returns its id.
    pub async fn submit(&self) -> Result<JobId, Error> {
        let job = NewJob::new(Payload::parse(r#"{"kind": "shell"}"#).unwrap());
        let id = job.id;
        let submit = Submit {
            group: None,
            jobs: vec![job],
        };
        self.queue.submit(submit, None).await.map(|_| id)
    }

    /// Puts a job in whose payload has this many bytes.
    pub async fn submit_long(&self, bytes: usize) -> Result<JobId, Error> {
        let job = NewJob::new(Payload::parse(format!(r#""{}""#, "x".repeat(bytes))).unwrap());
        let id = job.id;
        let submit = Submit {
            group: None,
            jobs: vec![job],
        };
        self.queue.submit(submit, None).await.map(|_| id)
    }

    pub async fn claim(&self, host: &str) -> Result<Vec<Claimed>, Error> {
        let request = ClaimRequest {
            claimants: vec![Claimant::new(HostId::new(host).unwrap())],
            group: None,
            lease_for: Duration::from_secs(60),
        };
        self.queue.claim(request).await
    }

    pub async fn complete(&self, held: &Claimed) {
        let report = Report {
            verdict: Verdict::Succeeded,
            result: JobResult::default(),
        };
        self.queue.complete(held.lease(), report).await.unwrap();
    }

    /// Takes another one in, and gives it a vote once it has caught up.
    pub async fn take_in(&self, other: &Self) {
        other.cluster.wait_for_adoption().await.unwrap();
        self.cluster.add(other.id, other.member()).await.unwrap();
        self.promote(other).await;
    }

    pub async fn promote(&self, other: &Self) {
        let mut watch = self.cluster.watch();
        loop {
            match self.cluster.promote(other.id).await {
                Ok(()) => return,
                Err(Error::Behind { .. }) => {
                    let close =
                        |status: &Status| status.lag.get(&other.id).is_some_and(|lag| *lag < 64);
                    let found = tokio::time::timeout(SOON, watch.wait_for(close)).await;
                    assert!(
                        found.is_ok(),
                        "never caught up: {:?}",
                        self.cluster.status()
                    );
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

/// Returns a cluster of so many voters; the first one leads.
pub async fn cluster(net: &Arc<Net>, size: usize) -> Vec<Node> {
    let nodes: Vec<_> = (0..size).map(|_| Node::fresh(net)).collect();
    let (first, others) = nodes.split_first().unwrap();
    first.cluster.found(first.member()).await.unwrap();
    for other in others {
        first.take_in(other).await;
    }
    nodes
}

/// Waits until one of them leads and says so under oath, and returns which.
pub async fn leader(nodes: &[Node]) -> usize {
    let found = async {
        loop {
            for (at, node) in nodes.iter().enumerate() {
                if node.cluster.status().role == Role::Leader
                    && node.cluster.confirm().await.is_ok()
                {
                    return at;
                }
            }
            let changes = nodes.iter().map(|node| {
                let mut watch = node.cluster.watch();
                Box::pin(async move { watch.changed().await })
            });
            let any = futures_util::future::select_all(changes);
            let _ = tokio::time::timeout(Duration::from_millis(200), any).await;
        }
    };
    tokio::time::timeout(SOON, found)
        .await
        .expect("nobody leads")
}

/// Waits until all have applied the same, and sees to it that they hold the same.
pub async fn agree(nodes: &[&Node]) {
    let most = nodes
        .iter()
        .map(|node| node.cluster.status().last_log)
        .max()
        .unwrap();
    let mut hashes = Vec::new();
    for node in nodes {
        node.until("behind", |status| status.applied >= most).await;
        hashes.push(node.cluster.state_hash().await.unwrap());
    }
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "{hashes:?}"
    );
}

/// Tells whether the queue has the job.
pub async fn has(node: &Node, job: JobId) -> bool {
    node.queue.job(job).await.unwrap().is_some()
}
