//! Those who ask: submitters, hosts that work, readers. Each repeats what was not answered, elsewhere and with
//! the same key, until it is.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use skyclaw::protocol::{HostId, JobId, JobResult, JobStatus, Payload, Reason, Requirement};
use skyclaw::queue::{
    ClaimRequest, Claimant, Claimed, Completion, Idempotency, NewJob, Renewed, Report, Submit,
    Verdict,
};
use skyclaw::support::clock::Timestamp;

use super::chance::Chance;
use super::history::{Given, Moment, Pen, Told, What, now};
use super::wire::{Answer, Ask, CLIENT, Lines};

/// How long a lease lasts without renewal. Short, so that many run out.
pub const LEASE: Duration = Duration::from_millis(3000);

/// How long a client waits for an answer before it asks elsewhere.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What clients share.
#[derive(Clone)]
pub struct World {
    pub pen: Pen,
    pub members: Rc<RefCell<Vec<String>>>,
    /// Nobody begins anything new.
    pub over: Rc<Cell<bool>>,
    /// Nobody asks for work either.
    pub closed: Rc<Cell<bool>>,
    /// Every job that was ever sent, acknowledged or not.
    pub jobs: Rc<RefCell<Vec<JobId>>>,
    /// Readers ask each member: one that answers without asking the others shows it only for as long as it does not know
    /// that it leads no more.
    pub restless: bool,
}

/// One who asks.
pub struct Caller {
    name: String,
    world: World,
    chance: Chance,
    lines: Lines,
    leader: Option<String>,
    asked: u64,
}

impl Caller {
    pub fn new(name: &str, world: World, chance: Chance) -> Self {
        Self {
            name: name.to_owned(),
            world,
            chance,
            lines: Lines::default(),
            leader: None,
            asked: 0,
        }
    }

    async fn pause(&mut self, from: u64, to: u64) {
        let millis = self.chance.between(from, to);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    fn key(&mut self, what: &str) -> Idempotency {
        self.asked += 1;
        let key = format!("{what}:{}:{}", self.name, self.asked);
        Idempotency {
            body_hash: Sha256::digest(&key).into(),
            key,
            expires_at: Timestamp::LAST,
        }
    }

    /// Asks one member once.
    pub async fn once(&mut self, host: &str, ask: &Ask) -> Option<Answer> {
        let body = serde_json::to_vec(ask).unwrap();
        let frame = (CLIENT, body.as_slice());
        let (_, answer) = self.lines.exchange(host, frame, PATIENCE).await.ok()?;
        Some(serde_json::from_slice(&answer).unwrap())
    }

    /// Asks until somebody answers for good.
    pub async fn settle(&mut self, ask: &Ask) -> Answer {
        loop {
            let members = self.world.members.borrow().clone();
            let anybody = self.chance.pick(&members).clone();
            let host = self.leader.take().unwrap_or(anybody);
            match self.once(&host, ask).await {
                Some(Answer::NotLeader(leader)) => {
                    // A hint that does not help is not followed for ever.
                    self.leader = leader.filter(|_| self.chance.happens(80));
                    self.pause(20, 150).await;
                }
                None | Some(Answer::Unknown(_)) => self.pause(20, 150).await,
                Some(answer) => {
                    self.leader = Some(host);
                    return answer;
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.world.over.get()
    }

    fn unexpected(&self, ask: &Ask, answer: &Answer) -> ! {
        panic!("{} asked {ask:?} and was told {answer:?}", self.name)
    }

    /// Submits jobs, cancels a few and reads.
    pub async fn submit(mut self) -> turmoil::Result {
        while !self.is_over() {
            let jobs: Vec<_> = (0..self.chance.between(1, 4)).map(|_| self.job()).collect();
            let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
            self.world.jobs.borrow_mut().extend(&ids);
            let ask = Ask::Submit(Submit { group: None, jobs }, self.key("submit"));
            let begin = now();
            for _ in 0..self.times() {
                match self.settle(&ask).await {
                    Answer::Submitted(told) if told == ids => {
                        self.world.pen.op(begin, What::Submitted(told));
                    }
                    other => self.unexpected(&ask, &other),
                }
            }
            if self.chance.happens(10) {
                self.cancel().await;
            }
            self.pause(50, 500).await;
        }
        Ok(())
    }

    /// Most requests are made once; some are repeated though they were answered.
    fn times(&mut self) -> u8 {
        if self.chance.happens(15) { 2 } else { 1 }
    }

    fn job(&mut self) -> NewJob {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.chance.next().to_be_bytes());
        id[8..].copy_from_slice(&self.chance.next().to_be_bytes());
        // In full: `NewJob::new` draws an id, and how much it draws for that depends on the real time.
        NewJob {
            id: JobId::from_bytes(id),
            payload: Payload::parse(r#"{"kind":"shell","command":"true"}"#).unwrap(),
            requirement: Requirement::default(),
            submitted_by: None,
            priority: self.chance.below(3) as i8,
            max_attempts: 50,
            retries: u16::from(self.chance.happens(50)),
            timeout_ms: None,
            start_by: None,
            not_before: None,
        }
    }

    async fn cancel(&mut self) {
        let Some(job) = self.any_job() else { return };
        let (begin, ask) = (now(), Ask::Cancel(vec![job]));
        match self.settle(&ask).await {
            Answer::Cancelled { ended, .. } if ended.contains(&job) => {
                self.world.pen.op(begin, What::Cancelled(job));
            }
            Answer::Cancelled { .. } => {}
            other => self.unexpected(&ask, &other),
        }
    }

    fn any_job(&mut self) -> Option<JobId> {
        let jobs = self.world.jobs.borrow();
        // Rather a young one: old ones have ended.
        let young = jobs.len().saturating_sub(12);
        (!jobs.is_empty()).then(|| *self.chance.pick(&jobs[young..]))
    }

    /// Reads a job at every member, whoever leads.
    async fn read_of_each(&mut self, job: JobId) {
        let members = self.world.members.borrow().clone();
        for host in members {
            let (begin, ask) = (now(), Ask::Read(job));
            if let Some(Answer::Read { seen, applied }) = self.once(&host, &ask).await {
                self.world.pen.op(begin, What::Read { job, seen, applied });
            }
        }
    }

    /// Reads single jobs, as new as they are.
    pub async fn read(mut self) -> turmoil::Result {
        while !self.is_over() {
            self.pause(20, 200).await;
            let Some(job) = self.any_job() else { continue };
            if self.world.restless {
                self.read_of_each(job).await;
                continue;
            }
            // One read in three at whoever it may be: a deposed leader must not answer either.
            if self.chance.happens(33) {
                self.leader = None;
            }
            let (begin, ask) = (now(), Ask::Read(job));
            match self.settle(&ask).await {
                Answer::Read { seen, applied } => {
                    self.world.pen.op(begin, What::Read { job, seen, applied });
                }
                other => self.unexpected(&ask, &other),
            }
        }
        Ok(())
    }

    /// Works: claims, holds, renews, reports. Goes on until nothing is left.
    pub async fn work(mut self) -> turmoil::Result {
        while !self.world.closed.get() {
            let request = ClaimRequest {
                claimants: vec![Claimant {
                    max: if self.is_over() {
                        1
                    } else {
                        self.chance.between(1, 4) as u16
                    },
                    ..Claimant::new(HostId::new(self.name.clone()).unwrap())
                }],
                group: None,
                lease_for: LEASE,
            };
            let key = self.key("claim");
            let name = key.key.clone();
            let is_named = self.chance.happens(60);
            let ask = match is_named {
                true => Ask::ClaimNamed(request, name.clone()),
                false => Ask::Claim(request, key),
            };
            let begin = now();
            let mut mine = Vec::new();
            for _ in 0..self.times() {
                match self.settle(&ask).await {
                    Answer::Claimed(leases) => {
                        let all = leases.iter().map(given).collect();
                        let what = match is_named {
                            true => What::Named(name.clone(), all),
                            false => What::Claimed(name.clone(), all),
                        };
                        self.world.pen.op(begin, what);
                        mine = leases;
                    }
                    other => self.unexpected(&ask, &other),
                }
            }
            if mine.is_empty() {
                self.pause(150, 500).await;
            }
            // A claim counts from when it was first sent, because nobody knows which sending was heard.
            for lease in mine {
                self.run(&lease, begin).await;
            }
        }
        Ok(())
    }

    async fn run(&mut self, lease: &Claimed, claimed: Moment) {
        let lasts = LEASE.as_micros() as u64;
        let (mine, from) = (given(lease), now());
        let mut until = claimed + lasts;
        let ends = now() + self.chance.between(20, 700) * 1000;
        // Some take longer than a lease lasts. When all is over, hosts do well too.
        let is_long = self.chance.happens(20) && !self.is_over();
        let ends = ends
            + if is_long {
                self.chance.below(2 * lasts)
            } else {
                0
            };
        while now() < until {
            if now() >= ends {
                self.world.pen.hold(mine, from, now());
                return self.report(lease).await;
            }
            let next = (ends - now()).min(lasts / 3);
            tokio::time::sleep(Duration::from_micros(next)).await;
            if now() < ends {
                let begin = now();
                match self.renew(lease, until).await {
                    Some(true) => until = begin + lasts,
                    // It is to end, or somebody else has it.
                    Some(false) => break,
                    None => {}
                }
            }
        }
        self.world.pen.hold(mine, from, until.min(now()));
    }

    /// Tells whether the lease goes on; nothing if nobody said so in time.
    async fn renew(&mut self, lease: &Claimed, until: Moment) -> Option<bool> {
        let (begin, ask) = (now(), Ask::Renew(vec![lease.lease()]));
        let left = Duration::from_micros(until.saturating_sub(begin));
        let answer = tokio::time::timeout(left, self.settle(&ask)).await.ok()?;
        match answer {
            Answer::Renewed(answers) => match answers.as_slice() {
                [Renewed::Until(_)] => {
                    self.world.pen.op(begin, What::Renewed(given(lease)));
                    Some(true)
                }
                [Renewed::Cancel { .. } | Renewed::LeaseLost] => Some(false),
                other => panic!("{other:?}"),
            },
            other => self.unexpected(&ask, &other),
        }
    }

    async fn report(&mut self, lease: &Claimed) {
        let mark = format!("{}/{}", self.name, self.asked);
        let verdict = match self.chance.below(100) {
            _ if self.is_over() => Verdict::Succeeded,
            0..80 => Verdict::Succeeded,
            80..88 => Verdict::Failed(Reason::Exit),
            88..94 => return self.release(lease).await,
            // The host dies: nobody hears of it again.
            _ => return,
        };
        let report = Report {
            verdict,
            result: JobResult {
                detail: Some(mark.clone()),
                ..JobResult::default()
            },
        };
        self.world.pen.sent(given(lease), &mark);
        let key = self.key("complete");
        let (begin, ask) = (now(), Ask::Complete(lease.lease(), report, key));
        for _ in 0..self.times() {
            match self.settle(&ask).await {
                Answer::Completed(done) => {
                    let what = What::Reported(given(lease), mark.clone(), told(done));
                    self.world.pen.op(begin, what);
                }
                other => self.unexpected(&ask, &other),
            }
        }
    }

    async fn release(&mut self, lease: &Claimed) {
        let ask = Ask::Release(vec![lease.lease()]);
        match self.settle(&ask).await {
            Answer::Released(_) => {}
            other => self.unexpected(&ask, &other),
        }
    }
}

fn given(lease: &Claimed) -> Given {
    Given {
        job: lease.job,
        attempt: lease.attempt.get(),
        token: lease.token,
    }
}

fn told(completion: Completion) -> Told {
    match completion {
        Completion::Ended { status, .. } => match status {
            JobStatus::Completed => Told::Completed,
            JobStatus::Failed => Told::Failed,
            JobStatus::Queued | JobStatus::Leased => unreachable!("it ended"),
        },
        Completion::Requeued { .. } => Told::Again,
        Completion::LeaseLost => Told::Lost,
    }
}
