//! What goes wrong in a simulation: faults that begin and end, members that come and go.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::admin::Chore;
use super::disk;
use super::faults::{self, Crash, Fault};
use super::flaw::Flaw;
use super::run::{Run, Wrong};

impl Run<'_> {
    pub(super) fn go_wrong(&mut self, voters: usize, churn: bool) -> Result<(), Wrong> {
        let end = self.sim.elapsed() + self.settings.faults_for;
        let mut next = Duration::ZERO;
        let mut churn_at = if churn { Duration::ZERO } else { Duration::MAX };
        while self.sim.elapsed() < end {
            let now = self.sim.elapsed();
            self.end_faults(now);
            if now >= next {
                // Now and then it is calm for a while: nothing is lost where nothing is done.
                let longest = *self.chance.pick(&[300, 900, 2500]);
                next = now + Duration::from_millis(self.chance.between(50, longest));
                self.begin_fault(now, voters);
            }
            if now >= churn_at && self.chores.is_idle() {
                churn_at = now + Duration::from_millis(self.chance.between(500, 3000));
                self.churn();
            }
            self.step()?;
        }
        Ok(())
    }

    fn begin_fault(&mut self, now: Duration, voters: usize) {
        let leader = self.board.leader();
        // Those who may yet join or have left are hit through the others.
        let members = voters.max(self.seats.len());
        let fault = match self.settings.flaw {
            Flaw::DiskLies => Fault::Down((0..members).collect(), Crash::Killed),
            Flaw::SyncLies => Fault::Down(vec![0], Crash::Power(self.chance.next())),
            _ => faults::draw(&mut self.chance, leader, members, self.names.len()),
        };
        if self.active.len() >= 3 {
            return;
        }
        if self.settings.flaw == Flaw::Twin && self.faults == 0 {
            self.make_twin(voters);
        }
        self.faults += 1;
        tracing::warn!(?now, ?fault, ?leader, "begins");
        match &fault {
            Fault::Down(who, how) => who.iter().for_each(|one| self.crash(*one, *how)),
            Fault::Trap(one, after, power) if !self.down.contains(one) => {
                disk::set_trap(&self.seats[*one].dir, *after, *power);
            }
            Fault::Clock(one, by) => {
                return self.seats[*one].wrong_by.store(*by, Ordering::Relaxed);
            }
            _ => {}
        }
        // Many for longer than it takes to miss a leader and find another, which is up to three seconds.
        let longest = *self.chance.pick(&[800, 5000, 5000]);
        let until = now + Duration::from_millis(self.chance.between(200, longest));
        self.active.push((until, fault));
        self.network();
    }

    pub(super) fn end_faults(&mut self, now: Duration) {
        let (over, on): (Vec<_>, Vec<_>) =
            self.active.drain(..).partition(|(until, _)| *until <= now);
        self.active = on;
        for (_, fault) in &over {
            match fault {
                Fault::Down(who, _) => who.iter().for_each(|one| self.restart(*one)),
                Fault::Trap(one, ..) => {
                    disk::disarm();
                    self.restart(*one);
                }
                _ => {}
            }
        }
        if !over.is_empty() {
            self.network();
        }
    }

    pub(super) fn network(&mut self) {
        let faults = self.active.iter().map(|(_, fault)| fault);
        faults::set_network(&mut self.sim, &self.names, faults);
    }

    /// One member goes for good, and comes again as a new one; or one that is none comes.
    fn churn(&mut self) {
        let voters = self.voters();
        let all = 0..self.seats.len();
        let outside: Vec<usize> = all.filter(|one| !voters.contains(one)).collect();
        let statuses: BTreeMap<_, _> = self.board.statuses().into_iter().collect();
        if let Some(one) = outside.first() {
            self.chores.push(Chore::Join(self.names[*one].clone()));
        } else if voters.len() > 2 {
            let voters: Vec<usize> = voters.into_iter().collect();
            let one = *self.chance.pick(&voters);
            let Some(status) = statuses.get(&one) else {
                return;
            };
            let chore = Chore::Leave(self.names[one].clone(), status.id);
            self.chores.push(chore);
        }
    }

    /// Wipes members that were taken out, once the leader said that they are.
    pub(super) fn obey(&mut self) {
        let done: Vec<Chore> = self.chores.done.borrow_mut().drain(..).collect();
        for chore in done {
            let Chore::Leave(name, _) = chore else {
                continue;
            };
            let Some(one) = self.names.iter().position(|other| *other == name) else {
                continue;
            };
            let was_down = self.down.contains(&one);
            self.crash(one, Crash::Stopped);
            let dir = &self.seats[one].dir;
            std::fs::remove_dir_all(dir).unwrap();
            std::fs::create_dir_all(dir).unwrap();
            disk::settle(dir);
            if !was_down {
                self.restart(one);
            }
        }
    }
}
