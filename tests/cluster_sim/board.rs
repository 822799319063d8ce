//! What is seen of all members from above, and what is wrong with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use skyclaw::queue::cluster::{MemberId, Role, Status};
use tokio::sync::watch;

use super::wire::Traffic;

/// Shared by members and whoever watches them.
#[derive(Clone, Default)]
pub struct Board {
    inner: Arc<Mutex<Inner>>,
    traffic: Traffic,
}

#[derive(Default)]
struct Inner {
    /// What the running members say of themselves.
    seats: BTreeMap<usize, watch::Receiver<Status>>,
    /// Who led by which vote. A place, not an id: two may have the same.
    leaders: BTreeMap<(u64, MemberId), usize>,
    /// The hash at each index, and who told it first.
    hashes: BTreeMap<u64, ([u8; 32], String)>,
    /// The newest index at which each member told its hash.
    told: BTreeMap<String, u64>,
    wrong: Vec<String>,
    quiet: bool,
}

impl Board {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn traffic(&self) -> Traffic {
        Arc::clone(&self.traffic)
    }

    pub fn up(&self, number: usize, status: watch::Receiver<Status>) {
        self.inner().seats.insert(number, status);
    }

    pub fn down(&self, number: usize) {
        self.inner().seats.remove(&number);
    }

    /// Notes a broken promise.
    pub fn wrong(&self, what: String) {
        self.inner().wrong.push(what);
    }

    /// Returns the first broken promise.
    pub fn first_wrong(&self) -> Option<String> {
        self.inner().wrong.first().cloned()
    }

    /// From now on nobody writes by itself.
    pub fn be_quiet(&self) {
        self.inner().quiet = true;
    }

    pub fn is_quiet(&self) -> bool {
        self.inner().quiet
    }

    /// Returns what each running member says of itself.
    pub fn statuses(&self) -> Vec<(usize, Status)> {
        let inner = self.inner();
        let seats = inner.seats.iter();
        seats.map(|(n, seat)| (*n, seat.borrow().clone())).collect()
    }

    /// Returns which member says that it leads, of the newest term if there are several.
    pub fn leader(&self) -> Option<usize> {
        let all = self.statuses().into_iter();
        let leading = all.filter(|(_, status)| status.role == Role::Leader);
        leading
            .max_by_key(|(_, status)| status.term)
            .map(|(n, _)| n)
    }

    /// Looks at everybody: who leads does so by a vote that is its own. Votes are ordered by term and then by
    /// member, and a later one beats an earlier one: in one term a greater member may follow a smaller one, but
    /// never the other way round, and no vote is that of two places.
    pub fn look(&self) {
        for (number, status) in self.statuses() {
            if status.role != Role::Leader {
                continue;
            }
            let (term, id) = (status.term, status.id);
            let mut inner = self.inner();
            let greatest = inner.leaders.range((term, MemberId::from(0))..);
            let greatest = greatest
                .map(|(vote, _)| *vote)
                .take_while(|vote| vote.0 == term)
                .last();
            let first = inner.leaders.get(&(term, id)).copied();
            if first.is_none() && greatest.is_some_and(|vote| vote > (term, id)) {
                let what = format!("in term {term} m{number} leads after a greater member");
                inner.wrong.push(what);
            }
            let first = *inner.leaders.entry((term, id)).or_insert(number);
            if first != number {
                let what = format!("two leaders in term {term}: m{first} and m{number}");
                inner.wrong.push(what);
            }
        }
    }

    /// Notes what the state of `who` is at `applied`: everybody's must be the same there.
    pub fn hash(&self, who: &str, applied: u64, hash: [u8; 32]) {
        let mut inner = self.inner();
        inner.told.insert(who.to_owned(), applied);
        let (known, by) = inner
            .hashes
            .entry(applied)
            .or_insert_with(|| (hash, who.to_owned()));
        if *known != hash {
            let what = format!("at index {applied} the states of {by} and {who} differ");
            inner.wrong.push(what);
        }
    }

    /// Returns the newest index at which each member told its hash.
    pub fn told(&self) -> BTreeMap<String, u64> {
        self.inner().told.clone()
    }

    /// Tells whether all of these told the hash of their state at `applied`.
    pub fn all_told(&self, names: &[String], applied: u64) -> bool {
        let told = &self.inner().told;
        names.iter().all(|name| told.get(name) == Some(&applied))
    }

    /// Returns how many states were compared, and how many leaders there were.
    pub fn compared(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.hashes.len(), inner.leaders.len())
    }
}
