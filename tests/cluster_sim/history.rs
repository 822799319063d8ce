//! What clients were told, and when: the record that is checked against what the queue promises.

use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use skyclaw::protocol::{JobId, LeaseToken};

use super::wire::Seen;

/// A point in simulated time, in microseconds.
pub type Moment = u64;

/// Returns the moment now.
pub fn now() -> Moment {
    let elapsed = turmoil::sim_elapsed().unwrap_or_default();
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

/// The right to run one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Given {
    pub job: JobId,
    pub attempt: u16,
    pub token: LeaseToken,
}

/// How a report of an attempt was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Told {
    /// The job ended well.
    Completed,
    /// The job ended badly.
    Failed,
    /// It runs again.
    Again,
    /// Somebody else has it.
    Lost,
}

/// An answer that a client got.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum What {
    Submitted(Vec<JobId>),
    /// Of the request with this key.
    Claimed(String, Vec<Given>),
    /// Of the claim with this name, whose leases are given again for as long as they are held.
    Named(String, Vec<Given>),
    /// Go on.
    Renewed(Given),
    /// A report with this mark.
    Reported(Given, String, Told),
    /// It ended at once, or its holder will be asked.
    Cancelled(JobId),
    Read {
        job: JobId,
        seen: Option<Seen>,
        applied: u64,
    },
}

/// One acknowledged request.
#[derive(Debug, Clone, Hash)]
pub struct Op {
    /// When it was first sent.
    pub begin: Moment,
    /// When its answer was there.
    pub end: Moment,
    pub what: What,
}

/// A holder believed that it held a lease.
#[derive(Debug, Clone, Hash)]
pub struct Hold {
    pub given: Given,
    pub from: Moment,
    /// Nobody else may hold the job before.
    pub until: Moment,
}

/// Everything that was told to clients.
#[derive(Debug, Default, Hash)]
pub struct History {
    pub ops: Vec<Op>,
    pub holds: Vec<Hold>,
    /// Reports that were sent, acknowledged or not: the mark says of which attempt.
    pub sent: Vec<(Given, String)>,
}

impl History {
    /// Returns a number that two runs share only if the same happened in them.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// A handle that clients write with.
#[derive(Clone, Default)]
pub struct Pen(Rc<RefCell<History>>);

impl Pen {
    pub fn op(&self, begin: Moment, what: What) {
        let end = now();
        self.0.borrow_mut().ops.push(Op { begin, end, what });
    }

    pub fn hold(&self, given: Given, from: Moment, until: Moment) {
        let mut history = self.0.borrow_mut();
        history.holds.push(Hold { given, from, until });
    }

    pub fn sent(&self, given: Given, mark: &str) {
        self.0.borrow_mut().sent.push((given, mark.to_owned()));
    }

    pub fn read<T>(&self, read: impl FnOnce(&History) -> T) -> T {
        read(&self.0.borrow())
    }
}
