//! Hosts that wait in an open request for work: the least loaded first, and of equals whose turn it is.
//!
//! A waiter that is picked stays in its place until it is known whether it got something, so its
//! turn is not lost. Its request may end meanwhile; then what it got goes back to the queue.

mod agenda;
mod turns;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

pub use self::agenda::{Agenda, Ready};

use self::turns::Turns;
use super::leases::Held;
use super::rank::{Load, Standing};
use crate::protocol::{HostId, JobId, Requirement};
use crate::queue::{ClaimMark, Claimant, Claimed};

/// Why a wait ended.
#[derive(Debug)]
pub enum Wake {
    /// Here is work.
    Work(Vec<Claimed>),
    /// Something about the host's leases changed.
    Heartbeat,
    /// There is nothing, and no more waiting.
    Nothing,
}

#[derive(Debug)]
struct Waiter {
    claimant: Arc<Claimant>,
    /// By what its request finds again what it was given.
    mark: Option<ClaimMark>,
    /// Which request waits here: the last one of the same name.
    asker: u64,
    wake: oneshot::Sender<Wake>,
    /// How its host stands among the others.
    standing: Standing,
    /// When it is its turn among equals.
    turn: u64,
    busy: bool,
    /// Its time is over; it only waits for the outcome of a claim that is under way.
    expired: bool,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    waiters: BTreeMap<u64, Waiter>,
    /// Those whose requests have names.
    marked: HashMap<ClaimMark, u64>,
    /// The same in the order in which they are asked.
    order: BTreeSet<(Load, u64, u64)>,
    turns: Turns,
    agenda: Agenda,
    announced: HashMap<JobId, Requirement>,
    /// How many of them want work; the others wait to be told of cancels.
    idle: usize,
    closed: bool,
}

/// The waiting hosts.
#[derive(Debug, Default)]
pub struct Waiting {
    inner: Mutex<Inner>,
    /// Raised whenever a job became ready, so that a host that asked before and waits after notices.
    generation: AtomicU64,
    work: Notify,
}

/// A waiter that was picked for a claim.
#[derive(Debug, Clone)]
pub struct Picked {
    /// Its number.
    pub number: u64,
    /// How it asks.
    pub claimant: Arc<Claimant>,
    /// By what it finds again what it was given.
    pub mark: Option<ClaimMark>,
}

/// A place among those who wait.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    number: u64,
    asker: u64,
}

impl Inner {
    fn remove(&mut self, number: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&number)?;
        self.idle -= usize::from(waiter.claimant.max > 0);
        self.order.remove(&waiter.place(number));
        if let Some(mark) = waiter.mark {
            self.marked.remove(&mark);
        }
        Some(waiter)
    }

    /// Has the request that came again wait in the place of the one whose answer nobody hears any more.
    fn taken_over(
        &mut self,
        mark: Option<ClaimMark>,
        claimant: &Claimant,
        asker: u64,
        wake: oneshot::Sender<Wake>,
    ) -> Result<u64, oneshot::Sender<Wake>> {
        let number = mark.and_then(|mark| self.marked.get(&mark).copied());
        let found = number.and_then(|number| Some((number, self.waiters.get_mut(&number)?)));
        match found {
            Some((number, waiter)) => {
                self.idle -= usize::from(waiter.claimant.max > 0);
                self.idle += usize::from(claimant.max > 0);
                waiter.claimant = Arc::new(claimant.clone());
                waiter.asker = asker;
                waiter.wake = wake;
                waiter.expired = false;
                Ok(number)
            }
            None => Err(wake),
        }
    }

    fn asks(&self, place: Place) -> Option<&Waiter> {
        let waiter = self.waiters.get(&place.number)?;
        (waiter.asker == place.asker).then_some(waiter)
    }
}

impl Waiter {
    /// Its place in the order in which they are asked.
    const fn place(&self, number: u64) -> (Load, u64, u64) {
        (self.standing.load, self.turn, number)
    }
}

impl Waiting {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what to compare with when a wait begins.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Begins to wait. `standing` is how its host stands now; `since` is the generation from before the queue was
    /// asked in vain. A claimant with a `max` of zero waits for [`Wake::Heartbeat`] only. A request that comes again with
    /// its `mark` takes the place of the one before. Nothing when the coordinator is closing.
    pub fn enter(
        &self,
        claimant: Claimant,
        mark: Option<ClaimMark>,
        standing: Standing,
        since: u64,
    ) -> Option<(Place, oneshot::Receiver<Wake>)> {
        let (wake, woken) = oneshot::channel();
        let mut inner = self.inner();
        if inner.closed {
            return None;
        }
        let asker = inner.next;
        inner.next += 1;
        let number = match inner.taken_over(mark, &claimant, asker, wake) {
            Ok(number) => number,
            Err(wake) => {
                let waiter = Waiter {
                    turn: inner.turns.of(&claimant.host),
                    claimant: Arc::new(claimant),
                    mark,
                    asker,
                    wake,
                    standing,
                    busy: false,
                    expired: false,
                };
                inner.order.insert(waiter.place(asker));
                inner.idle += usize::from(waiter.claimant.max > 0);
                inner.waiters.insert(asker, waiter);
                inner.marked.extend(mark.map(|mark| (mark, asker)));
                asker
            }
        };
        if self.generation() != since {
            inner.agenda.missed.push(number);
            self.work.notify_one();
        }
        Some((Place { number, asker }, woken))
    }

    /// Ends a wait whose time is over. Tells whether a claim is under way whose outcome is still to come.
    pub fn expire(&self, place: Place) -> bool {
        let mut inner = self.inner();
        if inner.waiters.contains_key(&place.number) && inner.asks(place).is_none() {
            // Another waits in its place.
            return false;
        }
        match inner.waiters.get_mut(&place.number) {
            None => true,
            Some(waiter) if waiter.busy => {
                waiter.expired = true;
                true
            }
            Some(_) => {
                inner.remove(place.number);
                false
            }
        }
    }

    /// Ends a wait whose request is gone.
    pub fn leave(&self, place: Place) {
        let mut inner = self.inner();
        if inner.asks(place).is_some_and(|waiter| !waiter.busy) {
            inner.remove(place.number);
        }
    }

    /// Tells of a job that became ready.
    pub fn ready(&self, job: JobId, before: Option<&Held>) {
        let mut inner = self.inner();
        self.generation.fetch_add(1, Ordering::SeqCst);
        let announced = inner.announced.remove(&job);
        if inner.waiters.is_empty() {
            return;
        }
        let known = before.and_then(|held| held.claimed.as_ref());
        inner.agenda.jobs.push(Ready {
            job,
            requirement: announced.or_else(|| known.map(|claimed| claimed.requirement.clone())),
            old: before.map(|held| held.token),
        });
        self.work.notify_one();
    }

    /// Tells who may run a job that is about to be submitted, so that only those are tried.
    pub fn announce(&self, job: JobId, requirement: &Requirement) {
        let mut inner = self.inner();
        if !inner.waiters.is_empty() {
            inner.announced.insert(job, requirement.clone());
        }
    }

    /// Tells whether anybody waits for work.
    pub fn any_idle(&self) -> bool {
        self.inner().idle > 0
    }

    /// Takes an announcement back: the job does not come, or not now.
    pub fn recall(&self, job: JobId) {
        self.inner().announced.remove(&job);
    }

    /// Has everybody who waits looked at.
    pub fn try_all(&self) {
        let mut inner = self.inner();
        self.generation.fetch_add(1, Ordering::SeqCst);
        inner.agenda.all = true;
        // Called when news were missed, too; what they were about is not known any more.
        inner.announced.clear();
        self.work.notify_one();
    }

    /// Ends the waits of `host` so that it sends a heartbeat. Tells whether there were any.
    pub fn nudge(&self, host: &HostId) -> bool {
        let mut inner = self.inner();
        let of_host: Vec<u64> = inner
            .waiters
            .iter()
            .filter(|(_, waiter)| waiter.claimant.host == *host && !waiter.busy)
            .map(|(number, _)| *number)
            .collect();
        let mut told = false;
        for number in of_host {
            if let Some(waiter) = inner.remove(number) {
                told |= waiter.wake.send(Wake::Heartbeat).is_ok();
            }
        }
        told
    }

    /// Waits for something to do and returns it.
    pub async fn agenda(&self) -> Agenda {
        loop {
            {
                let mut inner = self.inner();
                if !inner.agenda.is_empty() {
                    return std::mem::take(&mut inner.agenda);
                }
            }
            self.work.notified().await;
        }
    }

    /// Takes note that `host` is less busy now, also where it waits already.
    pub fn relieved(&self, host: &HostId, standing: Standing) {
        let mut inner = self.inner();
        let Inner { waiters, order, .. } = &mut *inner;
        for (number, waiter) in waiters {
            if waiter.standing != standing && waiter.claimant.host == *host {
                order.remove(&waiter.place(*number));
                waiter.standing = standing;
                order.insert(waiter.place(*number));
            }
        }
    }

    /// Picks waiters for a claim, the least loaded first, of equals whose turn it is: who may take one of
    /// `jobs` and was not `tried`, at most `most`. One per host. Those that are picked for a list of jobs
    /// share it, so that one does not get what others could begin at once.
    pub fn pick(
        &self,
        jobs: Option<&[Ready]>,
        tried: &HashSet<u64>,
        most: usize,
        may: impl Fn(&HostId) -> bool,
    ) -> Vec<Picked> {
        let mut inner = self.inner();
        let Inner { waiters, order, .. } = &mut *inner;
        let mut picked: Vec<Picked> = Vec::new();
        for (.., number) in &*order {
            if picked.len() >= most {
                break;
            }
            let Some(waiter) = waiters.get_mut(number) else {
                continue;
            };
            let claimant = &waiter.claimant;
            let wanted = claimant.max > 0
                && !waiter.busy
                && !waiter.expired
                && !tried.contains(number)
                && jobs.is_none_or(|jobs| jobs.iter().any(|ready| ready.fits(claimant)))
                && !picked.iter().any(|one| one.claimant.host == claimant.host)
                && may(&claimant.host);
            if wanted {
                waiter.busy = true;
                picked.push(Picked {
                    number: *number,
                    claimant: Arc::clone(claimant),
                    mark: waiter.mark,
                });
            }
        }
        if let Some(jobs) = jobs {
            let share = jobs.len().div_ceil(picked.len().max(1));
            let share = u16::try_from(share).unwrap_or(u16::MAX);
            for one in &mut picked {
                if one.claimant.max > share {
                    // Who gets its share comes back for more.
                    Arc::make_mut(&mut one.claimant).max = share;
                }
            }
        }
        picked
    }

    /// Picks one waiter by its number.
    pub fn pick_one(&self, number: u64, may: impl Fn(&HostId) -> bool) -> Option<Picked> {
        let mut inner = self.inner();
        let waiter = inner.waiters.get_mut(&number)?;
        if waiter.busy || waiter.expired || waiter.claimant.max == 0 || !may(&waiter.claimant.host)
        {
            return None;
        }
        waiter.busy = true;
        Some(Picked {
            number,
            claimant: Arc::clone(&waiter.claimant),
            mark: waiter.mark,
        })
    }

    /// Ends the claim of a picked waiter. With nothing it goes on waiting, if its time is not over.
    /// Returns what could not be handed over because its request is gone.
    pub fn settle(&self, number: u64, given: Vec<Claimed>) -> Vec<Claimed> {
        let mut inner = self.inner();
        if given.is_empty() {
            let ends = inner.closed;
            if let Some(waiter) = inner.waiters.get_mut(&number) {
                waiter.busy = false;
                if waiter.expired || waiter.wake.is_closed() || ends {
                    inner.remove(number);
                }
            }
            return Vec::new();
        }
        let Some(waiter) = inner.remove(number) else {
            return given;
        };
        inner.turns.served(
            (&waiter.claimant.host, waiter.standing.weight),
            waiter.turn,
            given.len(),
        );
        drop(inner);
        match waiter.wake.send(Wake::Work(given)) {
            Ok(()) => Vec::new(),
            Err(Wake::Work(given)) => given,
            Err(Wake::Heartbeat | Wake::Nothing) => Vec::new(),
        }
    }

    /// Lets nobody wait any more. Returns those who wait, to be told.
    pub fn close(&self) -> Vec<oneshot::Sender<Wake>> {
        let mut inner = self.inner();
        inner.closed = true;
        let free: Vec<u64> = inner
            .waiters
            .iter()
            .filter(|(_, waiter)| !waiter.busy)
            .map(|(number, _)| *number)
            .collect();
        free.into_iter()
            .filter_map(|number| inner.remove(number))
            .map(|waiter| waiter.wake)
            .collect()
    }
}
