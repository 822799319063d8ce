//! What ten thousand hosts ask of five members, counted: how much members send one another, and how often they
//! commit.
//!
//! The crowd is one simulated client that asks what that many hosts would: every host runs one job after the
//! other, each a minute long, with the default lease. What hosts send besides (heartbeats that renew nothing)
//! never reaches the log.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use skyclaw::protocol::{HostId, JobId, JobResult, Output, Payload, Requirement};
use skyclaw::queue::{
    ClaimRequest, Claimant, Claimed, Idempotency, NewJob, Report, Submit, Verdict,
};
use skyclaw::support::clock::Timestamp;

use super::chance::Chance;
use super::flaw::Flaw;
use super::run::{Run, Settings};
use super::wire::{Answer, Ask, CLIENT, Lines, Tally};

/// How many hosts there are.
const HOSTS: u64 = 10_000;
/// How long a job runs, in seconds.
const JOB: u64 = 60;
/// How often a lease of the default length is renewed while a job runs.
const RENEWALS: u64 = 2;
/// How many members there are.
const MEMBERS: usize = 5;
/// How long it is counted, in seconds.
const FOR: u64 = 10;

/// What the crowd holds.
#[derive(Default)]
struct Crowd {
    leases: VecDeque<Claimed>,
    answered: u64,
}

/// Counts, and prints what was counted.
pub fn count(seed: u64) {
    let settings = Settings {
        seed,
        flaw: Flaw::None,
        faults_for: Duration::ZERO,
    };
    let mut run = Run::build(settings, Chance::new(seed, 0), MEMBERS);
    run.add_clients(&[("admin", 1)]);
    run.settle_in(MEMBERS).unwrap();
    let leader = run.board.leader().unwrap();
    let crowd = Rc::new(RefCell::new(Crowd::default()));
    let work = ask_all(
        format!("m{leader}"),
        Chance::new(seed, 1),
        Rc::clone(&crowd),
    );
    run.sim.client("crowd", work);
    let steps = |run: &mut Run<'_>, seconds: u64| {
        for _ in 0..seconds * 100 {
            run.step().unwrap();
        }
    };
    // Until as many are answered as come.
    steps(&mut run, 2);
    let before = (look(&run, leader), crowd.borrow().answered);
    steps(&mut run, FOR);
    let after = (look(&run, leader), crowd.borrow().answered);
    let commits = after.0.1 - before.0.1;
    let asked = after.1 - before.1;
    println!("commands/s: {}, commits/s: {}", asked / FOR, commits / FOR);
    for ((who, what), tally) in &after.0.0 {
        let was = before
            .0
            .0
            .get(&(who.clone(), *what))
            .copied()
            .unwrap_or_default();
        let role = if *who == format!("m{leader}") {
            "leader"
        } else {
            "follower"
        };
        println!(
            "{who} ({role}) sends {what}: {}/s, {} bytes/s",
            (tally.messages - was.messages) / FOR,
            (tally.bytes - was.bytes) / FOR
        );
    }
    assert_eq!(run.board.leader(), Some(leader), "one leader all the time");
    assert!(asked / FOR > HOSTS / JOB * 4, "the crowd was served");
}

type Counted = std::collections::BTreeMap<(String, &'static str), Tally>;

fn look(run: &Run<'_>, leader: usize) -> (Counted, u64) {
    let statuses = run.board.statuses();
    let (_, status) = statuses.iter().find(|(n, _)| *n == leader).unwrap();
    (run.board.traffic().lock().unwrap().clone(), status.last_log)
}

/// Asks the leader for what the hosts ask in each moment, without waiting for one answer before the next request.
async fn ask_all(leader: String, mut chance: Chance, crowd: Rc<RefCell<Crowd>>) -> turmoil::Result {
    let lines = Rc::new(Lines::default());
    let tick = Duration::from_millis(5);
    // In millionths of a request.
    let (mut submits, mut exchanges, mut renewals) = (0, 0, 0);
    let each = HOSTS * 1_000_000 / JOB / 200;
    let mut turn = 0u64;
    loop {
        tokio::time::sleep(tick).await;
        submits += each;
        exchanges += each;
        renewals += each * RENEWALS;
        let mut asks = Vec::new();
        while submits >= 1_000_000 {
            submits -= 1_000_000;
            turn += 1;
            asks.push(Ask::Submit(submit(&mut chance), key(format!("s{turn}"))));
        }
        while exchanges >= 1_000_000 {
            exchanges -= 1_000_000;
            turn += 1;
            let mut crowd = crowd.borrow_mut();
            // In the beginning everybody is idle.
            let busy = crowd.leases.len() > 200;
            let done = busy.then(|| crowd.leases.pop_front()).flatten();
            let reports = done.iter().map(|lease| (lease.lease(), report())).collect();
            asks.push(Ask::Exchange(
                reports,
                request(turn),
                key(format!("c{turn}")),
            ));
        }
        while renewals >= 1_000_000 {
            renewals -= 1_000_000;
            let crowd = crowd.borrow();
            if let Some(lease) = crowd.leases.get(chance.below(100) as usize) {
                asks.push(Ask::Renew(vec![lease.lease()]));
            }
        }
        for ask in asks {
            let (lines, leader) = (Rc::clone(&lines), leader.clone());
            tokio::task::spawn_local(one(lines, leader, ask, Rc::clone(&crowd)));
        }
    }
}

async fn one(lines: Rc<Lines>, leader: String, ask: Ask, crowd: Rc<RefCell<Crowd>>) {
    let body = serde_json::to_vec(&ask).unwrap();
    let frame = (CLIENT, body.as_slice());
    let within = Duration::from_secs(5);
    let answer = lines.exchange(&leader, frame, within).await;
    let (_, answer) = answer.unwrap();
    let mut crowd = crowd.borrow_mut();
    // An exchange is two commands.
    crowd.answered += 1 + u64::from(matches!(ask, Ask::Exchange(..)));
    match serde_json::from_slice(&answer).unwrap() {
        Answer::Claimed(leases) => crowd.leases.extend(leases),
        Answer::Submitted(_) | Answer::Renewed(_) => {}
        other => panic!("{other:?}"),
    }
}

fn key(key: String) -> Idempotency {
    Idempotency {
        body_hash: Sha256::digest(&key).into(),
        key,
        expires_at: Timestamp::LAST,
    }
}

fn submit(chance: &mut Chance) -> Submit {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&chance.next().to_be_bytes());
    // A command line of ordinary length.
    let command = "x".repeat(200);
    let payload = Payload::of(&serde_json::json!({"kind": "shell", "command": command}));
    let job = NewJob {
        id: JobId::from_bytes(id),
        payload: payload.unwrap(),
        requirement: Requirement::default(),
        submitted_by: None,
        priority: 0,
        max_attempts: 3,
        retries: 0,
        timeout_ms: None,
        start_by: None,
        not_before: None,
    };
    Submit {
        group: None,
        jobs: vec![job],
    }
}

fn request(turn: u64) -> ClaimRequest {
    ClaimRequest {
        claimants: vec![Claimant::new(HostId::new(format!("host-{turn}")).unwrap())],
        group: None,
        lease_for: Duration::from_secs(60),
    }
}

fn report() -> Report {
    let bytes = b"a line of output, as a job prints it\n".repeat(20);
    Report {
        verdict: Verdict::Succeeded,
        result: JobResult {
            exit_code: Some(0),
            stdout: Output {
                total: bytes.len() as u64,
                truncated: false,
                bytes,
            },
            ..JobResult::default()
        },
    }
}
