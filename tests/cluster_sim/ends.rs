//! How members go down and come again: stopped, killed, without power, in the middle of a step, or as somebody's twin.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk;
use super::faults::Crash;
use super::flaw::Flaw;
use super::place;
use super::run::Run;

impl Run<'_> {
    /// The member in `dir` ended somewhere in the step that is over, and left these files.
    pub(super) fn end_in_the_middle(&mut self, dir: &Path, left: &disk::Files) {
        let Some(one) = self.seats.iter().position(|seat| seat.dir == dir) else {
            return;
        };
        tracing::warn!(now = ?self.sim.elapsed(), one, "ended in the middle of something");
        if self.down.insert(one) {
            self.board.down(one);
            self.sim.crash(self.names[one].as_str());
            disk::put(left, dir);
        }
    }

    /// The spare machine starts with the files of another.
    pub(super) fn make_twin(&mut self, spare: usize) {
        self.crash(spare, Crash::Stopped);
        let of = self.board.leader().unwrap_or(0);
        place::copy(&self.seats[of].dir, &self.seats[spare].dir);
        disk::settle(&self.seats[spare].dir);
        self.restart(spare);
    }

    pub(super) fn crash(&mut self, one: usize, how: Crash) {
        if !self.down.insert(one) {
            return;
        }
        let (dir, name) = (self.seats[one].dir.clone(), self.names[one].clone());
        let left = self.dir.path().join(format!("left-{one}"));
        let survived = match how {
            Crash::Power(seed) => Some(disk::after_power_loss(&dir, seed)),
            Crash::Killed => {
                place::copy(&dir, &left);
                None
            }
            Crash::Stopped => None,
        };
        self.board.down(one);
        self.sim.crash(name.as_str());
        match (how, survived) {
            (Crash::Killed, _) => {
                let stale = self.stale_copy(one);
                place::restore(&stale.unwrap_or(left), &dir);
                disk::settle(&dir);
            }
            (_, Some(survived)) => disk::put(&survived, &dir),
            (_, None) => {}
        }
    }

    pub(super) fn restart(&mut self, one: usize) {
        if self.down.remove(&one) {
            let name = self.names[one].clone();
            self.sim.bounce(name.as_str());
        }
    }

    pub(super) fn keep_stale(&mut self, one: usize) {
        if self.settings.flaw == Flaw::DiskLies && !self.down.contains(&one) {
            let now = self.sim.elapsed();
            let to = self
                .dir
                .path()
                .join(format!("stale-{one}-{}", now.as_millis()));
            place::copy(&self.seats[one].dir, &to);
            self.stale.entry(one).or_default().push(now);
        }
    }

    /// Returns the newest copy that is two seconds old.
    pub(super) fn stale_copy(&self, one: usize) -> Option<PathBuf> {
        let old = self.sim.elapsed().checked_sub(Duration::from_secs(2))?;
        let at = self.stale.get(&one)?.iter().rev().find(|at| **at <= old)?;
        Some(
            self.dir
                .path()
                .join(format!("stale-{one}-{}", at.as_millis())),
        )
    }
}
