//! One simulation: builds it from the seed, lets things go wrong, heals everything, and looks at what is left.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::Duration;

use turmoil::Sim;

use super::admin::{self, Chore, Chores};
use super::board::Board;
use super::chance::Chance;
use super::check::check;
use super::client::{Caller, World};
use super::disk;
use super::faults::Fault;
use super::flaw::Flaw;
use super::history::Pen;
use super::member::{Seat, seen};
use super::place;

/// One step of simulated time.
const TICK: Duration = Duration::from_millis(10);

/// What a simulation is made from.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub seed: u64,
    pub flaw: Flaw,
    /// How long things go wrong.
    pub faults_for: Duration,
}

/// What was seen in a simulation that kept every promise.
pub struct Report {
    pub members: usize,
    pub churn: bool,
    pub jobs: usize,
    pub ops: usize,
    pub holds: usize,
    pub faults: usize,
    pub terms: usize,
    pub states: usize,
    pub applied: u64,
    pub simulated: Duration,
    pub fingerprint: u64,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let churn = if self.churn { ", coming and going" } else { "" };
        write!(
            f,
            "{} members{churn}, {} jobs, {} answers, {} holds, {} faults, {} leaders, {} states compared, \
             {} entries, {:?} simulated, fingerprint {:016x}",
            self.members,
            self.jobs,
            self.ops,
            self.holds,
            self.faults,
            self.terms,
            self.states,
            self.applied,
            self.simulated,
            self.fingerprint
        )
    }
}

/// A broken promise, or a cluster that never got well.
pub type Wrong = String;

pub struct Run<'a> {
    pub sim: Sim<'a>,
    pub(super) settings: Settings,
    pub(super) chance: Chance,
    pub board: Board,
    pub world: World,
    pub(super) chores: Chores,
    /// Members first, then clients.
    pub(super) names: Vec<String>,
    pub(super) seats: Vec<Seat>,
    /// Clients that end by themselves when all is over, and have not yet.
    busy: Rc<Cell<usize>>,
    pub(super) down: BTreeSet<usize>,
    /// What goes wrong now, and until when.
    pub(super) active: Vec<(Duration, Fault)>,
    pub(super) faults: usize,
    steps: u64,
    pub(super) dir: tempfile::TempDir,
    /// For disks that lie: copies made earlier, with their time.
    pub(super) stale: BTreeMap<usize, Vec<Duration>>,
}

/// Runs one simulation.
///
/// # Errors
/// With what was wrong.
pub fn run(settings: Settings) -> Result<Report, Wrong> {
    let chance = Chance::new(settings.seed, 0);
    let voters = if settings.seed.is_multiple_of(2) {
        3
    } else {
        5
    };
    let churn = settings.seed % 3 == 2 && settings.flaw != Flaw::Twin;
    // The spare comes and goes, or is to be somebody's twin.
    let spare = churn || settings.flaw == Flaw::Twin;
    let members = voters + usize::from(spare);
    let mut run = Run::build(settings, chance, members);
    run.add_clients(&[("submit", 3), ("read", 2), ("work", 4), ("admin", 1)]);
    run.settle_in(voters)?;
    run.go_wrong(voters, churn)?;
    run.heal()?;
    let applied = run.agree()?;
    run.judge(churn, applied)
}

impl Run<'_> {
    pub fn build(settings: Settings, chance: Chance, members: usize) -> Self {
        let sim = turmoil::Builder::new()
            .rng_seed(settings.seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(24 * 3600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(20))
            .tcp_capacity(4096)
            .enable_random_order()
            .build();
        let world = World {
            pen: Pen::default(),
            members: Rc::default(),
            over: Rc::default(),
            closed: Rc::default(),
            jobs: Rc::default(),
            restless: settings.flaw == Flaw::ReadsUnconfirmed,
        };
        let mut run = Run {
            sim,
            settings,
            chance,
            board: Board::default(),
            world,
            chores: Chores::default(),
            names: Vec::new(),
            seats: Vec::new(),
            busy: Rc::default(),
            down: BTreeSet::new(),
            active: Vec::new(),
            faults: 0,
            steps: 0,
            dir: place::fresh(),
            stale: BTreeMap::new(),
        };
        disk::watch(run.dir.path(), settings.flaw == Flaw::SyncLies);
        for number in 0..members {
            run.add_member(number, format!("m{number}"));
        }
        run
    }

    fn add_member(&mut self, number: usize, name: String) {
        let wrong_by = match self.settings.flaw {
            // Each new leader is later than all before it.
            Flaw::NoReprieve => 3_600_000 * number as i64,
            _ => *self.chance.pick(&[0, 0, -3_600_000, 3_600_000]),
        };
        let seat = Seat {
            number,
            dir: self.dir.path().join(&name),
            name: name.clone(),
            wrong_by: Arc::new(AtomicI64::new(wrong_by)),
            board: self.board.clone(),
            first: Arc::new(AtomicBool::new(number == 0)),
            flaw: self.settings.flaw,
            seed: self.settings.seed,
        };
        std::fs::create_dir_all(&seat.dir).unwrap();
        let software = seat.clone();
        self.sim.host(name.as_str(), move || software.clone().run());
        self.world.members.borrow_mut().push(name.clone());
        self.names.push(name);
        self.seats.push(seat);
    }

    /// Adds so many clients of each kind.
    pub fn add_clients(&mut self, kinds: &[(&'static str, usize)]) {
        let all = kinds
            .iter()
            .flat_map(|(kind, n)| (0..*n).map(move |i| (*kind, i)));
        for (kind, number) in all {
            let name = format!("{kind}{number}");
            let stream = 100 + self.names.len() as u64;
            let chance = Chance::new(self.settings.seed, stream);
            let caller = Caller::new(&name, self.world.clone(), chance);
            let busy = Rc::clone(&self.busy);
            let ends = |work: std::pin::Pin<Box<dyn Future<Output = turmoil::Result>>>| async move {
                busy.set(busy.get() + 1);
                let done = work.await;
                busy.set(busy.get() - 1);
                done
            };
            match kind {
                "submit" => self
                    .sim
                    .client(name.as_str(), ends(Box::pin(caller.submit()))),
                "read" => self
                    .sim
                    .client(name.as_str(), ends(Box::pin(caller.read()))),
                "work" => self.sim.client(name.as_str(), caller.work()),
                _ => self
                    .sim
                    .client(name.as_str(), admin::run(caller, self.chores.clone())),
            }
            self.names.push(name);
        }
    }

    /// One step of time, and a look at everybody after it.
    pub fn step(&mut self) -> Result<(), Wrong> {
        self.sim.step().map_err(|error| error.to_string())?;
        self.steps += 1;
        if let Some((dir, left)) = disk::sprung() {
            self.end_in_the_middle(&dir, &left);
        }
        self.board.look();
        // One member's file after the other: a whole look costs as much as many steps.
        if self.steps.is_multiple_of(100) {
            let turn = (self.steps / 100) as usize % self.seats.len();
            if !self.down.contains(&turn) && place::database(&self.seats[turn].dir).exists() {
                place::look_over(&self.seats[turn].dir)?;
            }
            self.keep_stale(turn);
        }
        self.obey();
        match super::panicked().or_else(|| self.board.first_wrong()) {
            None => Ok(()),
            Some(wrong) => Err(wrong),
        }
    }

    /// Steps until `done`, for at most `limit`.
    fn until(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), Wrong> {
        let end = self.sim.elapsed() + limit;
        while !done(self) {
            if self.sim.elapsed() > end {
                return Err(format!("not after {limit:?}: {what}\n{}", self.picture()));
            }
            self.step()?;
        }
        Ok(())
    }

    /// How everything stands, for who looks for a fault.
    fn picture(&self) -> String {
        let mut lines = vec![format!(
            "administrator: {}; clients busy: {}; down: {:?}; hashes told: {:?}",
            self.chores.last.borrow(),
            self.busy.get(),
            self.down,
            self.board.told()
        )];
        for (number, status) in self.board.statuses() {
            let open = place::open_jobs(&self.seats[number].dir);
            lines.push(format!("m{number}: {status:?}, open jobs {open:?}"));
        }
        lines.join("\n")
    }

    pub(super) fn voters(&self) -> BTreeSet<usize> {
        let statuses = self.board.statuses();
        let Some(leader) = self.board.leader() else {
            return BTreeSet::new();
        };
        let Some((_, of)) = statuses.iter().find(|(n, _)| *n == leader) else {
            return BTreeSet::new();
        };
        let voting = |(_, status): &&(usize, skyclaw::queue::cluster::Status)| {
            of.members.get(&status.id).is_some_and(|(_, votes)| *votes)
        };
        statuses.iter().filter(voting).map(|(n, _)| *n).collect()
    }

    /// Nothing goes wrong until all are members.
    pub fn settle_in(&mut self, voters: usize) -> Result<(), Wrong> {
        for number in 1..voters {
            self.chores.push(Chore::Join(format!("m{number}")));
        }
        self.until("everybody is a member", Duration::from_secs(30), |run| {
            run.chores.is_idle() && run.voters().len() == voters
        })
    }

    /// All faults end, everybody is up, and every job ends.
    fn heal(&mut self) -> Result<(), Wrong> {
        self.active.clear();
        disk::disarm();
        self.network();
        for one in self.down.clone() {
            self.restart(one);
        }
        self.world.over.set(true);
        self.until(
            "the administrator is done",
            Duration::from_secs(60),
            |run| run.chores.is_idle(),
        )?;
        let voters = self.voters();
        let outside = (0..self.seats.len()).filter(|one| !voters.contains(one));
        for one in outside {
            self.chores.push(Chore::Join(self.names[one].clone()));
        }
        self.until(
            "everybody is a member again",
            Duration::from_secs(60),
            |run| run.chores.is_idle() && run.voters().len() == run.seats.len(),
        )?;
        self.until("everybody was answered", Duration::from_secs(60), |run| {
            run.busy.get() == 0
        })?;
        let mut looked = 0;
        self.until("every job ended", Duration::from_secs(120), |run| {
            looked += 1;
            let leader = run.board.leader();
            looked % 50 == 0
                && leader.is_some_and(|one| place::open_jobs(&run.seats[one].dir) == Some(0))
        })
    }

    /// Nobody writes any more: all reach the same index and the same state.
    fn agree(&mut self) -> Result<u64, Wrong> {
        self.board.be_quiet();
        self.world.closed.set(true);
        let names: Vec<String> = self.names[..self.seats.len()].to_vec();
        let mut agreed = None;
        self.until(
            "all are at one index and in one state",
            Duration::from_secs(60),
            |run| {
                let statuses = run.board.statuses();
                let applied: BTreeSet<u64> = statuses.iter().map(|(_, s)| s.applied).collect();
                let one = applied.first().copied().filter(|_| applied.len() == 1);
                agreed = one
                    .filter(|at| statuses.len() == names.len() && run.board.all_told(&names, *at));
                agreed.is_some()
            },
        )?;
        agreed.ok_or_else(|| "nobody is there".to_owned())
    }

    fn judge(self, churn: bool, applied: u64) -> Result<Report, Wrong> {
        let mut last = Vec::new();
        for seat in &self.seats {
            place::look_over(&seat.dir)?;
            let jobs = place::jobs(&seat.dir)?;
            let jobs: Vec<_> = jobs.into_iter().map(seen).collect();
            if seat.number > 0 && jobs != last {
                return Err(format!("{} has other jobs than m0", seat.name));
            }
            last = jobs;
        }
        let (states, terms) = self.board.compared();
        let simulated = self.sim.elapsed();
        self.world.pen.read(|history| {
            check(history, &last)?;
            Ok(Report {
                members: self.seats.len(),
                churn,
                jobs: last.len(),
                ops: history.ops.len(),
                holds: history.holds.len(),
                faults: self.faults,
                terms,
                states,
                applied,
                simulated,
                fingerprint: history.fingerprint(),
            })
        })
    }
}
