//! One member: the queue's engine, a port, and of the room behind it what matters to what clients are promised.
//!
//! As a coordinator does, it lets clients in only while it leads, after every lease was given a fresh time, and
//! has what is due happen only then.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use skyclaw::protocol::JobResult;
use skyclaw::queue::cluster::{Cluster, Kind, Role, Status};
use skyclaw::queue::{Cancel, ClaimMark, Claimant, Error, Idempotency, JobView, Options, Queue};
use skyclaw::support::clock::{Clock, Timestamp};
use tokio::sync::watch;
use turmoil::net::{TcpListener, TcpStream};

use super::admin::member;
use super::board::Board;
use super::carrier::{ANSWERED, Net, TURNED_AWAY, kind};
use super::disk;
use super::flaw::Flaw;
use super::wire::{Answer, Ask, CLIENT, PORT, Seen, host_of, receive, send};

/// When every simulation begins: 2026-01-01.
const EPOCH: i64 = 1_767_225_600_000;

/// How often a leader has what is due happen.
const SWEEP: Duration = Duration::from_millis(250);

/// How often a member says what its state is: now and then, and often in the end.
const HASH: [Duration; 2] = [Duration::from_millis(2300), Duration::from_millis(300)];

/// The clock of one life of a member: simulated time, and wrong by whatever it was when that life began. As in
/// a coordinator, whoever sets the machine's clock meanwhile moves nothing.
struct SkewedClock {
    wrong_by: i64,
    latest: AtomicU64,
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        // Outside of a host's turn (while a host is taken down) time stands still.
        if let Some(elapsed) = turmoil::sim_elapsed() {
            let millis = u64::try_from(elapsed.as_millis()).unwrap_or(0);
            self.latest.store(millis, Ordering::Relaxed);
        }
        let elapsed = self.latest.load(Ordering::Relaxed) as i64;
        Timestamp::from_millis(EPOCH + elapsed + self.wrong_by)
    }
}

/// What a member is made of.
#[derive(Clone)]
pub struct Seat {
    /// Its number on the board.
    pub number: usize,
    pub name: String,
    pub dir: PathBuf,
    /// By how many milliseconds its machine's clock is wrong.
    pub wrong_by: Arc<AtomicI64>,
    pub board: Board,
    /// The first of all: it makes the cluster that the others wait for.
    pub first: Arc<AtomicBool>,
    pub flaw: Flaw,
    /// What its network draws from.
    pub seed: u64,
}

impl Seat {
    fn options(&self) -> Options {
        let clock = SkewedClock {
            wrong_by: self.wrong_by.load(Ordering::Relaxed),
            latest: AtomicU64::new(0),
        };
        Options {
            clock: Arc::new(clock),
            inline: true,
            // So few that members which were away need copies.
            log_entries: 25,
            ..Options::new(self.dir.join("coordinator.db"))
        }
    }

    /// Runs until the host is taken down.
    pub async fn run(self) -> turmoil::Result {
        let net = Net::new(&self, self.board.traffic());
        let (queue, cluster) = Queue::open_member(self.options(), Arc::new(net))?;
        self.board.up(self.number, cluster.watch());
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        let (ready, is_ready) = watch::channel(None);
        let door = Door {
            dir: self.dir.clone(),
            queue: queue.clone(),
            cluster: cluster.clone(),
            ready: is_ready.clone(),
            flaw: self.flaw,
        };
        tokio::spawn(accept(listener, door));
        tokio::spawn(sweep(self.clone(), queue.clone(), is_ready));
        tokio::spawn(lead(self.clone(), queue, cluster.clone(), ready));
        tokio::spawn(tell_hash(self.clone(), cluster.clone()));
        if cluster.status().role == Role::Lone {
            match self.first.swap(false, Ordering::Relaxed) {
                // Not at once: a coordinator has had a life of its own before others join it.
                true => {
                    tokio::time::sleep(Duration::from_millis(700)).await;
                    cluster.found(member(&self.name)).await?;
                }
                false => cluster.wait_for_adoption().await?,
            }
        }
        let why = cluster.failed().await;
        self.board.wrong(format!("{} failed: {why}", self.name));
        Ok(())
    }
}

/// Follows the role; says in `ready` as the leader of which term clients are let in.
async fn lead(seat: Seat, queue: Queue, cluster: Cluster, ready: watch::Sender<Option<u64>>) {
    let mut status = cluster.watch();
    loop {
        let now = status.borrow_and_update().clone();
        let term = leads(&now).then_some(now.term);
        let was = *ready.borrow();
        if was.is_some() && was != term {
            ready.send_replace(None);
        }
        if term.is_some() && was != term && begin(&seat, &queue, &cluster).await.is_ok() {
            ready.send_replace(term);
        }
        // Each entry in the log is news too: what is due is looked for by time alone.
        tokio::select! {
            biased;
            changed = status.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep(SWEEP) => {}
        }
    }
}

/// Has what is due happen, while it leads.
async fn sweep(seat: Seat, queue: Queue, ready: watch::Receiver<Option<u64>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        if ready.borrow().is_some() && !seat.board.is_quiet() {
            // An error is that it leads no more, or has no majority: `lead` sees that.
            let _ = queue.expire_due().await;
        }
    }
}

fn leads(status: &Status) -> bool {
    matches!(status.role, Role::Lone | Role::Leader)
}

async fn begin(seat: &Seat, queue: &Queue, cluster: &Cluster) -> Result<(), Error> {
    cluster.confirm().await?;
    if seat.flaw != Flaw::NoReprieve {
        queue.reprieve().await?;
    }
    Ok(())
}

async fn tell_hash(seat: Seat, cluster: Cluster) {
    loop {
        tokio::time::sleep(HASH[usize::from(seat.board.is_quiet())]).await;
        match hash(&cluster).await {
            Ok((applied, hash)) => seat.board.hash(&seat.name, applied, hash),
            Err(why) => tracing::warn!(why, "no hash"),
        }
    }
}

/// Returns the state's hash and the index that it belongs to, if that did not move meanwhile.
async fn hash(cluster: &Cluster) -> Result<(u64, [u8; 32]), String> {
    let before = cluster.status();
    let hash = cluster.state_hash().await.map_err(|e| e.to_string())?;
    match cluster.status().applied == before.applied && before.cluster.is_some() {
        true => Ok((before.applied, hash)),
        false => Err("the state moves".to_owned()),
    }
}

/// What a request meets.
#[derive(Clone)]
struct Door {
    dir: PathBuf,
    queue: Queue,
    cluster: Cluster,
    ready: watch::Receiver<Option<u64>>,
    flaw: Flaw,
}

async fn accept(listener: TcpListener, door: Door) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, door.clone()));
    }
}

async fn serve(mut stream: TcpStream, door: Door) {
    loop {
        // Whoever was cut off is not waited for for ever.
        let next = tokio::time::timeout(Duration::from_secs(20), receive(&mut stream)).await;
        let Ok(Ok((mark, body))) = next else { return };
        let (mark, answer) = match kind(mark) {
            Some(kind) => door.raft(kind, &body).await,
            None => door.client(&body).await,
        };
        if disk::has_ended(&door.dir) {
            return std::future::pending().await;
        }
        if send(&mut stream, mark, &answer).await.is_err() {
            return;
        }
    }
}

impl Door {
    async fn raft(&self, kind: Kind, body: &[u8]) -> (u8, Vec<u8>) {
        let me = self.cluster.status().id.to_string();
        let Some(body) = body.strip_prefix(me.as_bytes()) else {
            return (TURNED_AWAY, b"another member".to_vec());
        };
        match self.cluster.receive(kind, body.to_vec()).await {
            Ok(answer) => (ANSWERED, answer),
            Err(error) => (TURNED_AWAY, error.to_string().into_bytes()),
        }
    }

    async fn client(&self, body: &[u8]) -> (u8, Vec<u8>) {
        let ask: Ask = serde_json::from_slice(body).unwrap();
        let answer = match self.answer(ask).await {
            Ok(answer) => answer,
            Err(Error::NotLeader { leader }) => {
                Answer::NotLeader(leader.map(|member| host_of(&member.url)))
            }
            Err(error @ (Error::NoQuorum(_) | Error::Closed)) => Answer::Unknown(error.to_string()),
            Err(error) => Answer::Refused(error.to_string()),
        };
        (CLIENT, serde_json::to_vec(&answer).unwrap())
    }

    fn leader(&self) -> Option<String> {
        let status = self.cluster.status();
        let (member, _) = status.members.get(&status.leader?)?;
        Some(host_of(&member.url))
    }

    fn key(&self, key: Idempotency) -> Option<Idempotency> {
        (self.flaw != Flaw::ForgetsKeys).then_some(key)
    }

    async fn answer(&self, ask: Ask) -> Result<Answer, Error> {
        let queue = &self.queue;
        let open = match &ask {
            Ask::Who => true,
            _ => self.ready.borrow().is_some(),
        };
        if !open {
            return Ok(Answer::NotLeader(self.leader()));
        }
        Ok(match ask {
            Ask::Submit(submit, key) if self.flaw == Flaw::AcknowledgesEarly => {
                let jobs = submit.jobs.iter().map(|job| job.id).collect();
                let queue = queue.clone();
                tokio::spawn(async move { queue.submit(submit, Some(key)).await });
                Answer::Submitted(jobs)
            }
            Ask::Submit(submit, key) => {
                Answer::Submitted(queue.submit(submit, self.key(key)).await?.jobs)
            }
            Ask::Claim(request, key) => {
                Answer::Claimed(queue.claim_keyed(request, self.key(key)).await?.0)
            }
            Ask::ClaimNamed(request, name) => {
                let mark = |one: &Claimant| ClaimMark::of(&one.host, &name);
                let marks = request.claimants.iter().map(mark).map(Some);
                let marks = marks.filter(|_| self.flaw != Flaw::ForgetsKeys).collect();
                Answer::Claimed(queue.claim_once(request, marks).await?)
            }
            Ask::Renew(leases) => Answer::Renewed(queue.renew(leases).await?),
            Ask::Complete(lease, report, key) => {
                let done = queue.complete_keyed(lease, report, self.key(key)).await?;
                Answer::Completed(done.0)
            }
            Ask::Exchange(reports, request, key) => {
                let (_, given) = queue.exchange((reports, None), (request, Some(key))).await;
                Answer::Claimed(given?.0)
            }
            Ask::Release(leases) => Answer::Released(queue.release(leases, Duration::ZERO).await?),
            Ask::Cancel(jobs) => {
                let done = queue.cancel(Cancel::Jobs(jobs), None).await?;
                Answer::Cancelled {
                    ended: done.ended,
                    asked: done.asked,
                }
            }
            Ask::Read(job) => {
                if self.flaw != Flaw::ReadsUnconfirmed {
                    self.cluster.confirm().await?;
                }
                let applied = self.cluster.status().applied;
                let seen = queue.job(job).await?.map(seen);
                Answer::Read { seen, applied }
            }
            Ask::Who => Answer::Who {
                id: self.cluster.status().id,
            },
            Ask::Voters => {
                self.cluster.confirm().await?;
                let members = self.cluster.status().members.into_iter();
                let voters = members.filter(|(_, (_, votes))| *votes);
                Answer::Voters(voters.map(|(id, _)| id).collect())
            }
            Ask::Add(id, member) => self.cluster.add(id, member).await.map(|()| Answer::Done)?,
            Ask::Promote(id) => self.cluster.promote(id).await.map(|()| Answer::Done)?,
            Ask::Remove(id) => self.cluster.remove(&[id]).await.map(|()| Answer::Done)?,
        })
    }
}

/// Returns what a reader keeps of a job.
pub fn seen(view: JobView) -> Seen {
    let mark = |result: JobResult| result.detail;
    Seen {
        job: view.job.id,
        attempts: view.job.attempts.get(),
        status: view.job.status,
        mark: view.job.result.and_then(mark),
    }
}
